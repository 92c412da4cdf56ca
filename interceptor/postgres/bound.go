package postgres

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

// bound is what a Bind gives a statement, kept where somebody may be asked about the run.
type bound struct {
	shown []string // the values as people read them, shortened
	sum   [sha256.Size]byte
	huge  bool // too long to be put to people: only that is known
}

// Bounds of what people are shown, in bytes: of one value, and of all.
const (
	maxShown    = 1 << 10
	maxShownAll = 4 << 10
	// valueShown is what a value takes besides its text.
	valueShown = 16
)

// readBound reads what follows the names in a Bind.
//
//	int16 n | n x int16 format | int16 n | n x ( int32 length or -1 | value ) | result formats
func readBound(s *statement, b []byte) (*bound, bool) {
	formats, rest, ok := int16s(b)
	if !ok || len(rest) < 2 {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(rest))
	types, out, used := s.parameterTypes(), &bound{}, 0
	rest = rest[2:]
	for i := range n {
		value, after, null, ok := field(rest)
		if !ok {
			return nil, false
		}
		if null {
			value = nil
		}
		oid := uint32(0)
		if i < len(types) {
			oid = types[i]
		}
		rest = after
		if used >= maxShownAll {
			continue
		}
		text := shown(value, oid, format(formats, i) == 1, null)
		used += len(text) + valueShown
		out.shown = append(out.shown, text)
	}
	if more := n - len(out.shown); more > 0 {
		out.shown = append(out.shown, fmt.Sprintf("(%d more parameters, not shown)", more))
	}
	h := sha256.New()
	h.Write(s.declared)
	h.Write(b[:len(b)-len(rest)])
	h.Sum(out.sum[:0])
	return out, true
}

func int16s(b []byte) (codes []int16, rest []byte, ok bool) {
	if len(b) < 2 || len(b) < 2+2*int(binary.BigEndian.Uint16(b)) {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	for b = b[2:]; n > 0; n-- {
		codes = append(codes, int16(binary.BigEndian.Uint16(b)))
		b = b[2:]
	}
	return codes, b, true
}

// shown is a value as people read it: quoted, so that nothing else looks like it.
func shown(value []byte, oid uint32, bin, null bool) string {
	if null {
		return "NULL"
	}
	short := shorten(value)
	text := readable(short, oid, bin)
	if strings.ContainsRune(text, utf8.RuneError) && !utf8.Valid(short) {
		text = `\x` + hex.EncodeToString(short) // two values never look alike
	}
	text = "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if more := len(value) - len(short); more > 0 {
		text += fmt.Sprintf(" (%d more bytes, not shown)", more)
	}
	return text
}

// shorten cuts a value, and no character in two.
func shorten(value []byte) []byte {
	if len(value) <= maxShown {
		return value
	}
	value = value[:maxShown]
	for range utf8.UTFMax - 1 {
		if r, _ := utf8.DecodeLastRune(value); r != utf8.RuneError {
			break
		}
		value = value[:len(value)-1]
	}
	return value
}

// same says that two runs have the same parameters.
func (b *bound) same(o *bound) bool {
	if b == nil || o == nil {
		return b == o
	}
	return b.sum == o.sum && b.huge == o.huge
}

// fingerprint is a run's: of its text, its parameters and the settings it runs under.
func (b *bound) fingerprint(text string, settings [sha256.Size]byte) string {
	if b == nil && settings == [sha256.Size]byte{} {
		return ""
	}
	h := sha256.New()
	h.Write(settings[:])
	if b != nil {
		h.Write(b.sum[:])
	}
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

// set remembers that text, which is about to run, may change what later runs mean: roles,
// search_path, and the like. What a transaction set it takes back where it is rolled back, and
// SET LOCAL always: so its end counts as well.
func (e *engine) set(text string) {
	h := sha256.New()
	h.Write(e.settings[:])
	h.Write([]byte(text))
	h.Sum(e.settings[:0])
}

// heldBack reads the parameters of the Bind that begins here, its names ending at offset from,
// where s may be held when it runs. It waits until they are there.
func (e *engine) heldBack(w *walk, s *statement, size, from int) (b *bound, ok bool, err error) {
	if e.asked == nil && s.known && !s.replaced && s.j.stands(e.generation()) {
		return nil, true, nil
	}
	if size > maxText {
		return &bound{huge: true}, true, nil
	}
	if w.left() < size {
		return nil, false, nil
	}
	b, ok = readBound(s, w.in[w.pos+from:w.pos+size])
	if !ok {
		return nil, false, violation{"a Bind that contradicts itself"}
	}
	return b, true, nil
}
