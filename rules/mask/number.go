package mask

import (
	"encoding/binary"
	"math"
	"strconv"
)

// Int masks an integer of bits 16, 32 or 64; the result fits as well.
func (m Mask) Int(v int64, bits int) int64 {
	switch m.op() {
	case Hash, Token:
		return m.number('i', uint64(v)) & (1<<(bits-1) - 1)
	case Partial:
		if v >= 1e8 || v <= -1e8 {
			return v % 1e4
		}
	case Bucket:
		return v - v%step(v)
	}
	return 0
}

// number is a keyed integer >= 0 for a value.
func (m Mask) number(kind byte, v uint64) int64 {
	sum := m.digest(kind, binary.BigEndian.AppendUint64(nil, v))
	return int64(binary.BigEndian.Uint64(sum[:8]) >> 1)
}

// step is the power of ten that keeps the first digit of v, at least 10.
func step(v int64) int64 {
	s := int64(10)
	for v/s >= 10 || v/s <= -10 {
		s *= 10
	}
	return s
}

// Float masks a floating-point number. Keyed results are whole and fit float32 exactly.
func (m Mask) Float(v float64) float64 {
	switch m.op() {
	case Hash, Token:
		return float64(m.number('f', math.Float64bits(v)) & (1<<24 - 1))
	case Bucket:
		if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
			return 0
		}
		s := math.Pow10(int(math.Floor(math.Log10(math.Abs(v)))))
		if b := math.Trunc(v/s) * s; s > 0 && !math.IsInf(b, 0) {
			return b
		}
	}
	return 0
}

// Decimal appends the masked form of a decimal number, written as text, to dst.
func (m Mask) Decimal(dst, src []byte) []byte {
	switch m.op() {
	case Hash, Token:
		sum := m.digest('n', src)
		return strconv.AppendInt(dst, int64(binary.BigEndian.Uint64(sum[:8])>>15), 10)
	case Bucket:
		return bucketDecimal(dst, src)
	}
	return append(dst, '0')
}

// bucketDecimal keeps the first digit before the point and turns the others to
// zeros. A number below ten, or in another spelling, is 0.
func bucketDecimal(dst, src []byte) []byte {
	start := len(dst)
	digits := src
	if len(digits) > 0 && digits[0] == '-' {
		dst, digits = append(dst, '-'), digits[1:]
	}
	whole := 0
	for whole < len(digits) && digits[whole] >= '0' && digits[whole] <= '9' {
		whole++
	}
	rest := digits[whole:]
	if whole < 2 || digits[0] == '0' || len(rest) > 0 && rest[0] != '.' {
		return append(dst[:start], '0')
	}
	dst = append(dst, digits[0])
	for range whole - 1 {
		dst = append(dst, '0')
	}
	return dst
}

// Bool masks a truth value: it is false, for one bit cannot be half hidden.
func (m Mask) Bool(bool) bool { return false }
