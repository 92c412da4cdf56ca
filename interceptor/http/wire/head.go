// Package wire reads HTTP/1.x as strictly as a thing must that decides for
// somebody else: where two readers could see two messages, it sees a fault.
//
// # Why
//
// net/http reads from a stream it owns, forgives, and rewrites. Here the bytes
// stand in the driver's buffer, leave as they came, and every leniency is a
// request the far server may read differently (smuggling), so there is none.
// Everything is incremental and keeps nothing but a few counters between calls.
package wire

import "bytes"

// Fault is what is wrong with a message. It never holds a value from the wire.
type Fault string

func (f Fault) Error() string { return string(f) }

// Bounds of a head.
const (
	MaxHead   = 64 << 10 // bytes, start line and fields
	MaxFields = 256
	maxTarget = 16 << 10 // bytes of a request target
)

// The faults of a head.
const (
	ErrHeadSize   = Fault("the head is larger than 64 KiB")
	ErrFields     = Fault("there are more than 256 header fields")
	ErrBareLF     = Fault("a line ends without CR LF")
	ErrBareCR     = Fault("a CR stands inside a line")
	ErrFold       = Fault("a header field is folded over lines")
	ErrFieldName  = Fault("a header field name is not a token")
	ErrFieldValue = Fault("a header field value holds control characters")
	ErrStartLine  = Fault("the start line is malformed")
)

// Field is one header field, pointing into the head's bytes.
type Field struct {
	Name  []byte // as written
	Value []byte // without the white space around it
	Line  []byte // all of it, with CR LF
}

// Is compares the name without case; lower is in lower case.
func (f Field) Is(lower string) bool { return equalFold(f.Name, lower) }

// Head is a start line and fields, pointing into the bytes given to Scan. Its
// memory is used again by the next Scan.
type Head struct {
	Raw    []byte // everything, with the empty line
	Start  []byte // without CR LF
	Fields []Field

	seen int // bytes already found to hold no end of head
	line int // where the line under the scanner starts
}

// Scan looks for a whole head at the start of b and takes it apart. n is its
// length; 0 without an error: there is not all of it yet, and the next call
// must be given the same bytes with more behind them.
func (h *Head) Scan(b []byte) (n int, err error) {
	for {
		end := bytes.IndexByte(b[h.seen:min(len(b), MaxHead)], '\n')
		if end < 0 {
			return 0, h.wait(b)
		}
		end += h.seen
		if end == h.line || b[end-1] != '\r' {
			return 0, ErrBareLF
		}
		empty := end == h.line+1
		h.seen, h.line = end+1, end+1
		if empty {
			h.seen, h.line = 0, 0
			return end + 1, h.split(b[:end+1])
		}
	}
}

func (h *Head) wait(b []byte) error {
	h.seen = min(len(b), MaxHead)
	if h.seen == MaxHead {
		return ErrHeadSize
	}
	return nil
}

// split takes a whole head apart.
func (h *Head) split(raw []byte) error {
	h.Raw, h.Fields = raw, h.Fields[:0]
	end := bytes.IndexByte(raw, '\n') - 1
	h.Start = raw[:end]
	if bytes.IndexByte(h.Start, '\r') >= 0 || len(h.Start) == 0 {
		return ErrStartLine
	}
	for rest := raw[end+2:]; len(rest) > 2; {
		size := bytes.IndexByte(rest, '\n') + 1
		f, err := field(rest[:size:size])
		if err != nil {
			return err
		}
		if len(h.Fields) == MaxFields {
			return ErrFields
		}
		h.Fields = append(h.Fields, f)
		rest = rest[size:]
	}
	return nil
}

// field reads one line with its CR LF.
func field(line []byte) (Field, error) {
	text := line[:len(line)-2]
	if text[0] == ' ' || text[0] == '\t' {
		return Field{}, ErrFold
	}
	colon := bytes.IndexByte(text, ':')
	if colon <= 0 || !token(text[:colon]) {
		return Field{}, ErrFieldName
	}
	value := bytes.Trim(text[colon+1:], " \t")
	for _, c := range value {
		if c == '\r' {
			return Field{}, ErrBareCR
		}
		if c < ' ' && c != '\t' || c == 0x7f {
			return Field{}, ErrFieldValue
		}
	}
	return Field{Name: text[:colon], Value: value, Line: line}, nil
}

// Only gives the value of a field that may stand once; count tells how often it does.
func (h *Head) Only(lower string) (value []byte, count int) {
	for _, f := range h.Fields {
		if f.Is(lower) {
			value = f.Value
			count++
		}
	}
	return value, count
}

// Lists says whether a comma list field, such as Connection, has an element, in lower case.
func (h *Head) Lists(lower, element string) bool {
	for _, f := range h.Fields {
		if !f.Is(lower) {
			continue
		}
		for rest := f.Value; len(rest) > 0; {
			var one []byte
			one, rest, _ = bytes.Cut(rest, []byte{','})
			if equalFold(bytes.Trim(one, " \t"), element) {
				return true
			}
		}
	}
	return false
}

// token says whether b is a token (RFC 9110 5.6.2).
func token(b []byte) bool {
	for _, c := range b {
		if !tokenChar(c) {
			return false
		}
	}
	return len(b) > 0
}

func tokenChar(c byte) bool {
	switch {
	case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		return true
	}
	return bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}

// equalFold compares ASCII without case; nothing else folds (a Kelvin sign is no k).
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
