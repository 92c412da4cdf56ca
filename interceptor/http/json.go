package http

import (
	"strconv"

	"github.com/chaperone-dev/chaperone/rules"
	"github.com/chaperone-dev/chaperone/rules/detect"
	"github.com/chaperone-dev/chaperone/rules/mask"
)

// Bounds of a JSON body.
const (
	maxDepth   = 256
	maxJSONKey = 16 << 10 // bytes, escaped
	maxNumber  = 1 << 10  // bytes
	maxValue   = 64 << 10 // bytes of a string that is looked at whole
)

// The states of the walker. A value begins in jsonValue and its container goes on in
// jsonAfter. In jsonSkip the walker is inside a container that was masked whole.
type jsonState uint8

const (
	jsonValue jsonState = iota // a value, or ] right behind [
	jsonKeyOrEnd
	jsonKey
	jsonColon
	jsonAfter
	jsonInKey
	jsonInText
	jsonInWord // a number, true, false or null
	jsonSkip
	jsonSkipText
)

// jsonScrubber walks over JSON of any length with bounded memory. Bytes that
// nobody masks pass as they are, white space included. Several values may follow each
// other (NDJSON, RFC 7464).
type jsonScrubber struct {
	masks []rules.JSONMask
	set   detect.Set
	with  mask.Mask
	count func(int)

	state  jsonState
	stack  []container
	at     []uint64 // per depth and mask: the steps of its path that are reached, as bits
	here   []uint64 // the same for the value under way
	token  []byte   // what is held of the string or number under way, without quotes
	plain  []byte   // decoded
	quoted []byte   // scratch: the token in quotes
	hide   *mask.Mask
	held   bool // the string is looked at as a whole
	slash  bool // a backslash came last
	first  bool // the container has no element yet
	depth  int  // inside jsonSkip
	long   *textScrubber
	over   bool // a masked string is longer than maxValue: only its end is awaited
}

type container struct {
	array bool
	index int
}

func newJSONScrubber(masks []rules.JSONMask, set detect.Set, with mask.Mask, count func(int)) *jsonScrubber {
	s := &jsonScrubber{masks: masks, set: set, with: with, count: count, here: make([]uint64, len(masks))}
	s.root()
	return s
}

// root begins a value at the top.
func (s *jsonScrubber) root() {
	s.state, s.first = jsonValue, false
	for i, m := range s.masks {
		s.here[i] = reach(m.Path, 1)
	}
}

func (s *jsonScrubber) write(dst, in []byte) ([]byte, error) {
	for len(in) > 0 {
		n, err := 0, error(nil)
		switch s.state {
		case jsonInKey, jsonInText, jsonSkipText:
			dst, n, err = s.text(dst, in)
		case jsonInWord:
			dst, n, err = s.word(dst, in)
		case jsonSkip:
			n = s.skip(in)
		default:
			dst, n, err = s.structure(dst, in)
		}
		if err != nil {
			return dst, err
		}
		in = in[n:]
	}
	return dst, nil
}

// close finishes the last value. JSON that is cut off is an error.
func (s *jsonScrubber) close(dst []byte) ([]byte, error) {
	if s.state == jsonInWord && len(s.stack) == 0 {
		var err error
		if dst, err = s.endWord(dst); err != nil {
			return dst, err
		}
	}
	if len(s.stack) > 0 || s.state != jsonValue {
		return dst, errJSON
	}
	return dst, nil
}

// structure reads white space and one sign, or the start of a value.
func (s *jsonScrubber) structure(dst, in []byte) ([]byte, int, error) {
	n := 0
	for n < len(in) && blank(in[n], len(s.stack) == 0) {
		n++
	}
	dst = append(dst, in[:n]...)
	if n == len(in) {
		return dst, n, nil
	}
	c := in[n]
	n++
	var err error
	switch {
	case s.state == jsonColon && c == ':':
		s.state = jsonValue
		return append(dst, c), n, nil
	case s.state == jsonAfter && c == ',':
		dst, err = s.comma(append(dst, c))
		return dst, n, err
	case c == '}' && s.closes(false), c == ']' && s.closes(true):
		s.pop()
		return append(dst, c), n, nil
	case c == '"' && (s.state == jsonKey || s.state == jsonKeyOrEnd):
		s.state, s.held, s.token = jsonInKey, true, s.token[:0]
		return dst, n, nil
	case s.state == jsonValue:
		dst, k, err := s.value(dst, c)
		return dst, n - 1 + k, err
	}
	return dst, 0, errJSON
}

// blank says that c is white space. Between values at the top, a record
// separator (RFC 7464) and the bytes of a byte order mark are passed over too.
func blank(c byte, top bool) bool {
	switch c {
	case ' ', '\n', '\r', '\t':
		return true
	case 0x1e, 0xef, 0xbb, 0xbf:
		return top
	}
	return false
}

// closes says that the innermost container may end here.
func (s *jsonScrubber) closes(array bool) bool {
	if len(s.stack) == 0 || s.stack[len(s.stack)-1].array != array {
		return false
	}
	return s.state == jsonAfter || s.state == jsonKeyOrEnd || s.state == jsonValue && array && s.first
}

func (s *jsonScrubber) comma(dst []byte) ([]byte, error) {
	top := &s.stack[len(s.stack)-1]
	if !top.array {
		s.state = jsonKey
		return dst, nil
	}
	top.index++
	s.element(top.index)
	return dst, nil
}

// element begins an array's element.
func (s *jsonScrubber) element(index int) {
	var digits [20]byte
	s.child(strconv.AppendInt(digits[:0], int64(index), 10))
	s.state = jsonValue
}

// child computes which path steps the value behind a key reaches.
func (s *jsonScrubber) child(key []byte) {
	base := (len(s.stack) - 1) * len(s.masks)
	for i, m := range s.masks {
		s.here[i] = advance(m.Path, s.at[base+i], key)
	}
}

// value begins a value with its first byte; n is 0 when that byte is read again.
func (s *jsonScrubber) value(dst []byte, c byte) ([]byte, int, error) {
	s.first = false
	s.hide = s.masked()
	switch c {
	case '"':
		s.state, s.token = jsonInText, s.token[:0]
		s.held = s.hide != nil || s.set != 0
		if !s.held {
			dst = append(dst, c)
		}
		return dst, 1, nil
	case '{', '[':
		if s.hide != nil {
			s.state, s.depth = jsonSkip, 1
			s.count(1)
			return s.hide.JSON(dst, []byte{c, c + 2}), 1, nil // } and ] stand two behind { and [
		}
		return append(dst, c), 1, s.push(c == '[')
	}
	if c != '-' && (c < '0' || c > '9') && c != 't' && c != 'f' && c != 'n' {
		return dst, 0, errJSON
	}
	s.state, s.token = jsonInWord, s.token[:0]
	return dst, 0, nil
}

// masked is the mask of the value under way; nil when no path reaches it.
func (s *jsonScrubber) masked() *mask.Mask {
	for i := range s.masks {
		if s.here[i]>>len(s.masks[i].Path)&1 == 1 {
			return &s.masks[i].With
		}
	}
	return nil
}

func (s *jsonScrubber) push(array bool) error {
	if len(s.stack) == maxDepth {
		return errJSONDeep
	}
	s.stack = append(s.stack, container{array: array})
	s.at = append(s.at, s.here...)
	s.state, s.first = jsonKeyOrEnd, true
	if array {
		s.element(0)
	}
	return nil
}

func (s *jsonScrubber) pop() {
	s.stack = s.stack[:len(s.stack)-1]
	s.at = s.at[:len(s.stack)*len(s.masks)]
	s.ended()
}

// ended is where a value is over.
func (s *jsonScrubber) ended() {
	s.state, s.hide, s.first = jsonAfter, nil, false
	if len(s.stack) == 0 {
		s.root()
	}
}

// skip drops what stands in a masked container.
func (s *jsonScrubber) skip(in []byte) int {
	for i, c := range in {
		switch c {
		case '"':
			s.state, s.slash = jsonSkipText, false
			return i + 1
		case '{', '[':
			s.depth++
		case '}', ']':
			if s.depth--; s.depth == 0 {
				s.ended()
				return i + 1
			}
		}
	}
	return len(in)
}

// word collects a number or a literal up to what ends it.
func (s *jsonScrubber) word(dst, in []byte) ([]byte, int, error) {
	n := 0
	for n < len(in) && wordByte(in[n]) {
		n++
	}
	if len(s.token)+n > maxNumber {
		return dst, 0, errJSON
	}
	s.token = append(s.token, in[:n]...)
	if n == len(in) {
		return dst, n, nil
	}
	dst, err := s.endWord(dst)
	return dst, n, err
}

func wordByte(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || c == '+' || c == '-' || c == '.' || c == 'E'
}

// endWord releases a number or literal, masked where it has to be.
func (s *jsonScrubber) endWord(dst []byte) ([]byte, error) {
	if !isWord(s.token) {
		return dst, errJSON
	}
	with := s.hide
	if with == nil && s.set != 0 && s.set.Find(s.token) {
		with = &s.with
	}
	if with == nil {
		dst = append(dst, s.token...)
	} else {
		dst = with.JSON(dst, s.token)
		s.count(1)
	}
	s.ended()
	return dst, nil
}

// isWord says that b is a literal or a number (RFC 8259 3 and 6).
func isWord(b []byte) bool {
	switch string(b) {
	case "true", "false", "null":
		return true
	}
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	n := digits(b)
	if n == 0 || n > 1 && b[0] == '0' {
		return false
	}
	b = b[n:]
	if len(b) > 0 && b[0] == '.' {
		if n = digits(b[1:]); n == 0 {
			return false
		}
		b = b[n+1:]
	}
	if len(b) == 0 || b[0]|0x20 != 'e' {
		return len(b) == 0
	}
	if b = b[1:]; len(b) > 0 && (b[0] == '+' || b[0] == '-') {
		b = b[1:]
	}
	return len(b) > 0 && digits(b) == len(b)
}

// digits is how many digits b starts with.
func digits(b []byte) int {
	n := 0
	for n < len(b) && '0' <= b[n] && b[n] <= '9' {
		n++
	}
	return n
}

// reach adds to the steps that are reached those behind "**", which may stand for nothing.
func reach(path []string, steps uint64) uint64 {
	for i, step := range path {
		if step == "**" && steps>>i&1 == 1 {
			steps |= 1 << (i + 1)
		}
	}
	return steps
}

// advance is the steps reached behind one more key.
func advance(path []string, steps uint64, key []byte) uint64 {
	var next uint64
	for i, step := range path {
		if steps>>i&1 == 0 {
			continue
		}
		switch {
		case step == "**":
			next |= 1 << i
		case step == "*" || step == string(key):
			next |= 1 << (i + 1)
		}
	}
	return reach(path, next)
}
