package http

import (
	"bytes"

	"github.com/chaperone-dev/chaperone/rules/detect"
	"github.com/chaperone-dev/chaperone/rules/mask"
)

// Bounds of the window that text is looked at through, in bytes.
const (
	holdBack   = 4 << 10  // how much of a line without end waits for what may follow
	holdLong   = 64 << 10 // how long one value (a private key, a JWT) may be
	hindsight  = 256      // released bytes that are kept, for detectors look at what stands before a value
	textWindow = 16 << 10 // new bytes per look
)

// textScrubber runs detectors over a stream of text. A value may come in two
// pieces: what could be the start of one is held back until more is there. Lines are released
// whole as they end, so that a stream of events flows.
type textScrubber struct {
	set   detect.Set
	with  mask.Mask
	count func(int)
	text  []byte // hindsight, then what is not released yet
	past  int    // length of the hindsight
	spans []detect.Span
	whole bool // the text is a body, not a string in one: a NUL betrays another charset (UTF-16)
}

func (s *textScrubber) write(dst, in []byte) ([]byte, error) {
	if s.whole && bytes.IndexByte(in, 0) >= 0 {
		return dst, errCharset
	}
	for len(in) > 0 {
		n := min(len(in), textWindow)
		s.text = append(s.text, in[:n]...)
		in = in[n:]
		cut, err := s.look(false)
		if err != nil {
			return dst, err
		}
		dst = s.release(dst, cut)
	}
	return dst, nil
}

func (s *textScrubber) close(dst []byte) ([]byte, error) {
	cut, err := s.look(true)
	if err != nil {
		return dst, err
	}
	return s.release(dst, cut), nil
}

// look finds values, and where the text may be cut: behind no value that has
// only begun.
func (s *textScrubber) look(last bool) (cut int, err error) {
	s.spans = s.set.Spans(s.spans[:0], s.text)
	if last {
		return len(s.text), nil
	}
	cut = max(len(s.text)-holdBack, bytes.LastIndexByte(s.text, '\n')+1, s.past)
	if s.set&detect.PrivateKey != 0 {
		cut = min(cut, openKey(s.text, s.past))
	}
	if s.set&detect.JWT != 0 {
		cut = min(cut, openToken(s.text, s.past))
	}
	for _, found := range s.spans {
		if found.Start < cut && found.End >= cut && found.End > s.past {
			cut = max(found.Start, s.past) // it may go on
		}
	}
	if len(s.text)-cut > holdLong {
		return 0, errText
	}
	return cut, nil
}

// openKey is where a PEM private key begins that has not ended; the length of the text when none does.
func openKey(text []byte, past int) int {
	at := bytes.LastIndex(text, []byte("-----BEGIN "))
	if at < past {
		return len(text)
	}
	rest := text[at+len("-----BEGIN "):]
	label := rest[:min(len(rest), 64)]
	if len(label) == 64 && !bytes.Contains(label, []byte("PRIVATE KEY")) {
		return len(text)
	}
	_, tail, ended := bytes.Cut(rest, []byte("-----END "))
	if ended && bytes.Contains(tail, []byte("-----")) {
		return len(text)
	}
	return at
}

// maxTokenHead is how long the first part of a JWT may be, in bytes.
const maxTokenHead = 16 << 10

// openToken is where a JWT begins that reaches the end of the text, and may go on behind it.
func openToken(text []byte, past int) int {
	at := len(text)
	for at > past && tokenByte(text[at-1]) {
		at--
	}
	for i := at; i+3 <= len(text); i++ {
		if string(text[i:i+3]) != "eyJ" || i > at && text[i-1] != '.' {
			continue
		}
		if len(text)-i > maxTokenHead && bytes.IndexByte(text[i:i+maxTokenHead], '.') < 0 {
			return len(text)
		}
		return i
	}
	return len(text)
}

func tokenByte(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '-' || c == '_' || c == '.'
}

// release appends the text up to cut, values masked, and keeps some of it as hindsight.
func (s *textScrubber) release(dst []byte, cut int) []byte {
	at, hits := s.past, 0
	for _, found := range s.spans {
		start := max(found.Start, at)
		if found.End <= at || found.End > cut {
			continue
		}
		dst = append(dst, s.text[at:start]...)
		dst = s.with.Text(dst, s.text[start:found.End])
		at = found.End
		hits++
	}
	dst = append(dst, s.text[at:cut]...)
	if hits > 0 {
		s.count(hits)
	}
	from := max(0, cut-hindsight)
	s.text = s.text[:copy(s.text, s.text[from:])]
	s.past = cut - from
	return dst
}
