package http

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/chaperone-dev/chaperone/rules/mask"
)

// text reads on in a string: in jsonInKey and jsonInText what is held is
// collected and the rest passes, in jsonSkipText everything is dropped.
func (s *jsonScrubber) text(dst, in []byte) (out []byte, n int, err error) {
	n, ended, ok := s.inside(in)
	if !ok {
		return dst, 0, errJSON
	}
	content := in[:n]
	if ended {
		content = in[:n-1]
	}
	switch {
	case s.state == jsonSkipText:
		if ended {
			s.state = jsonSkip
		}
		return dst, n, nil
	case !s.held:
		dst = append(dst, in[:n]...)
		if ended {
			s.ended()
		}
		return dst, n, nil
	}
	if dst, err = s.hold(dst, content); err != nil || !ended {
		return dst, n, err
	}
	if s.state == jsonInKey {
		dst, err = s.endKey(dst)
		return dst, n, err
	}
	dst, err = s.endText(dst)
	s.ended()
	return dst, n, err
}

// inside finds how much of in belongs to the string, its closing quote included.
// Control characters do not stand in strings.
func (s *jsonScrubber) inside(in []byte) (n int, ended, ok bool) {
	for i, c := range in {
		switch {
		case c < ' ':
			return 0, false, false
		case s.slash:
			s.slash = false
		case c == '\\':
			s.slash = true
		case c == '"':
			return i + 1, true, true
		}
	}
	return len(in), false, true
}

// hold collects a piece of a string that is looked at as a whole. A masked one
// that is too long is masked without being read to its end; one that detectors
// look at goes through a window.
func (s *jsonScrubber) hold(dst, piece []byte) ([]byte, error) {
	switch {
	case s.over:
		return dst, nil
	case s.state == jsonInKey && len(s.token)+len(piece) > maxJSONKey:
		return dst, errJSONKey
	}
	s.token = append(s.token, piece...)
	if len(s.token) <= maxValue {
		return dst, nil
	}
	if s.hide != nil {
		s.over, s.token = true, s.token[:0]
		return dst, nil
	}
	return s.window(dst, false)
}

// window sends what is held of a long string through detectors. It is decoded
// and encoded anew: escapes may be written in another way.
func (s *jsonScrubber) window(dst []byte, last bool) ([]byte, error) {
	if s.long == nil {
		s.long = &textScrubber{set: s.set, with: s.with, count: s.count}
		dst = append(dst, '"')
	}
	cut := len(s.token)
	if !last {
		cut = wholeEscapes(s.token)
	}
	var err error
	if s.plain, err = s.decode(s.token[:cut]); err != nil {
		return dst, err
	}
	s.token = s.token[:copy(s.token, s.token[cut:])]
	clean, err := s.long.write(nil, s.plain)
	if err == nil && last {
		clean, err = s.long.close(clean)
	}
	if err != nil {
		return dst, err
	}
	return appendInner(dst, clean)
}

// wholeEscapes is where s can be cut so that no escape, surrogate pair or UTF-8 sequence is torn.
func wholeEscapes(s []byte) int {
	i := 0
	for i < len(s) {
		size := 1
		switch {
		case s[i] == '\\':
			size = escapeSize(s[i:])
		case s[i] >= 0xf0:
			size = 4
		case s[i] >= 0xe0:
			size = 3
		case s[i] >= 0xc0:
			size = 2
		}
		if i+size > len(s) {
			return i
		}
		i += size
	}
	return i
}

// escapeSize is how many bytes have to be there to read the escape s starts with.
func escapeSize(s []byte) int {
	if len(s) < 2 || s[1] != 'u' {
		return 2
	}
	if len(s) < 8 {
		return 8 // whether the other half of a surrogate pair follows is not to be seen yet
	}
	if s[2]|0x20 == 'd' && s[6] == '\\' && s[7] == 'u' {
		return 12
	}
	return 6
}

// endKey releases a key, and finds what its value reaches.
func (s *jsonScrubber) endKey(dst []byte) ([]byte, error) {
	var err error
	if s.plain, err = s.decode(s.token); err != nil {
		return dst, err
	}
	s.child(s.plain)
	s.state = jsonColon
	return s.release(dst)
}

// endText releases a string that was held.
func (s *jsonScrubber) endText(dst []byte) ([]byte, error) {
	switch {
	case s.over:
		s.over = false
		s.count(1)
		with := mask.Mask{Op: mask.Redact}
		if s.hide.IsNull() {
			with = *s.hide
		}
		return with.JSON(dst, []byte(`""`)), nil
	case s.long != nil:
		dst, err := s.window(dst, true)
		s.long = nil
		return append(dst, '"'), err
	}
	var err error
	if s.plain, err = s.decode(s.token); err != nil {
		return dst, err
	}
	if s.hide == nil {
		return s.release(dst)
	}
	s.count(1)
	return s.hide.JSON(dst, s.quoteToken(s.token)), nil
}

// release appends the string in s.token, decoded in s.plain, with values that
// detectors find masked; as it came where they find none.
func (s *jsonScrubber) release(dst []byte) ([]byte, error) {
	if s.set == 0 || !s.set.Find(s.plain) {
		dst = append(append(dst, '"'), s.token...)
		return append(dst, '"'), nil
	}
	clean, n := s.set.Scrub(nil, s.plain, s.with)
	s.count(n)
	dst, err := appendInner(append(dst, '"'), clean)
	return append(dst, '"'), err
}

// decode gives the characters of a string's inside, in s.plain's memory. What is not UTF-8 becomes U+FFFD.
func (s *jsonScrubber) decode(inside []byte) ([]byte, error) {
	plain := s.plain[:0]
	if bytes.IndexByte(inside, '\\') < 0 {
		return append(plain, inside...), nil
	}
	plain, err := jsontext.AppendUnquote(plain, s.quoteToken(inside))
	if err != nil && len(plain) == 0 {
		return plain, errJSON
	}
	return plain, nil
}

// quoteToken is inside between quotes, in memory that is used again.
func (s *jsonScrubber) quoteToken(inside []byte) []byte {
	s.quoted = append(append(append(s.quoted[:0], '"'), inside...), '"')
	return s.quoted
}

// appendInner appends a text as the inside of a JSON string.
func appendInner(dst, plain []byte) ([]byte, error) {
	start := len(dst)
	dst, err := jsontext.AppendQuote(dst, plain)
	if err != nil && len(dst) == start {
		return dst, errJSON
	}
	if len(dst) < start+2 {
		return dst[:start], errJSON
	}
	copy(dst[start:], dst[start+1:]) // the quotes are the caller's
	return dst[:len(dst)-2], nil
}
