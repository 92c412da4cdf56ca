package mask

import (
	"encoding/base32"
	"encoding/hex"
	"unicode/utf8"
)

// Masked stands for a text that is hidden.
const Masked = "[masked]"

var crockford = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// Text appends the masked form of a text to dst. src is not kept. The result
// is ASCII, except for characters that partial keeps.
func (m Mask) Text(dst, src []byte) []byte {
	switch m.op() {
	case Hash:
		sum := m.digest('t', src)
		return hex.AppendEncode(dst, sum[:16])
	case Token:
		sum := m.digest('t', src)
		return crockford.AppendEncode(append(dst, "tok_"...), sum[:16])
	case Partial:
		return partialText(dst, src)
	}
	return append(dst, Masked...)
}

// Bytes appends the masked form of a binary value to dst: 16 bytes of digest, or nothing.
func (m Mask) Bytes(dst, src []byte) []byte {
	if op := m.op(); op == Hash || op == Token {
		sum := m.digest('b', src)
		return append(dst, sum[:16]...)
	}
	return dst
}

// partialText stars all but the last four characters and the separators. Of
// fewer than eight characters only a quarter stays. What is not UTF-8 never stays.
func partialText(dst, src []byte) []byte {
	hidden := 0
	for _, c := range src {
		if c >= utf8.RuneSelf {
			return partialRunes(dst, src)
		}
		if !separators[c] {
			hidden++
		}
	}
	if hidden == 0 {
		return append(dst, Masked...)
	}
	hidden -= keep(hidden)
	at := len(dst)
	dst = append(dst, src...)
	for i, c := range dst[at:] {
		if !separators[c] && (hidden > 0 || c < ' ' || c == 0x7f) {
			dst[at+i] = '*'
			hidden--
		}
	}
	return dst
}

// partialRunes is partialText where there is more than ASCII.
func partialRunes(dst, src []byte) []byte {
	hidden := 0
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRune(src[i:])
		if !separator(r) {
			hidden++
		}
		i += size
	}
	if hidden == 0 {
		return append(dst, Masked...)
	}
	hidden -= keep(hidden)
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRune(src[i:])
		switch {
		case separator(r):
			dst = append(dst, src[i])
		case hidden > 0 || r == utf8.RuneError || r < ' ' || r == 0x7f:
			dst = append(dst, '*')
			hidden--
		default:
			dst = append(dst, src[i:i+size]...)
		}
		i += size
	}
	return dst
}

// keep is how many of n characters partial shows.
func keep(n int) int {
	if n < 8 {
		return n / 4
	}
	return 4
}

// separators only group a value, and may stay where they are. The list is short, for a
// secret may be made of signs.
var separators = [utf8.RuneSelf]bool{' ': true, '-': true, '.': true, '/': true, ':': true, '@': true, '(': true, ')': true, '+': true}

func separator(r rune) bool { return r < utf8.RuneSelf && separators[r] }
