package detect

import (
	"encoding/binary"
	"math/bits"
)

func digit(c byte) bool { return c-'0' < 10 }
func upper(c byte) bool { return c-'A' < 26 }
func alpha(c byte) bool { return c|0x20-'a' < 26 && c < 0x80 }
func alnum(c byte) bool { return digit(c) || alpha(c) }

// base64url is the alphabet of RFC 4648 section 5.
func base64url(c byte) bool { return alnum(c) || c == '-' || c == '_' }

// before is the byte before i, 0 where the text starts.
func before(src []byte, i int) byte {
	if i == 0 {
		return 0
	}
	return src[i-1]
}

// after is the byte at i, 0 behind the end.
func after(src []byte, i int) byte {
	if i >= len(src) {
		return 0
	}
	return src[i]
}

// run is the end of the bytes from i on for which is holds, at most limit of them.
func run(src []byte, i, limit int, is func(byte) bool) int {
	end := min(len(src), i+limit)
	for i < end && is(src[i]) {
		i++
	}
	return i
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// nextDigit is the first digit at or after i; len(src) when there is none. It
// looks at eight bytes at a time: c ^ '0' is below ten for digits only.
func nextDigit(src []byte, i int) int {
	for ; i+8 <= len(src); i += 8 {
		x := binary.LittleEndian.Uint64(src[i:]) ^ '0'*ones
		if below := (x - 10*ones) & ^x & highs; below != 0 {
			return i + bits.TrailingZeros64(below)/8
		}
	}
	for i < len(src) && !digit(src[i]) {
		i++
	}
	return i
}
