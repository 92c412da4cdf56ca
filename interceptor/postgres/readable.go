package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// oids reads an int16 count and as many type OIDs.
func oids(b []byte) []uint32 {
	if len(b) < 2 {
		return nil
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	types := make([]uint32, 0, min(n, len(b)/4))
	for ; n > 0 && len(b) >= 4; n-- {
		types = append(types, binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	return types
}

// readable is a value as text; NULL for nil. What cannot be read is shown in hex.
func readable(v []byte, oid uint32, bin bool) string {
	switch {
	case v == nil:
		return "NULL"
	case !bin:
		return strings.ToValidUTF8(string(v), "\uFFFD")
	}
	switch oid {
	case oidBool:
		return strconv.FormatBool(len(v) == 1 && v[0] != 0)
	case oidInt2, oidInt4, oidInt8, oidOID:
		return readableInt(v)
	case oidFloat4, oidFloat8:
		return readableFloat(v)
	case oidText, oidVarchar, oidBpchar, oidName, oidUnknown, oidJSON, oidXML:
		return strings.ToValidUTF8(string(v), "\uFFFD")
	case oidJSONB:
		if len(v) > 0 {
			return strings.ToValidUTF8(string(v[1:]), "\uFFFD")
		}
	case oidUUID:
		if len(v) == 16 {
			return fmt.Sprintf("%x-%x-%x-%x-%x", v[:4], v[4:6], v[6:8], v[8:10], v[10:])
		}
	case oidDate:
		if len(v) == 4 {
			return epoch().AddDate(0, 0, int(int32(binary.BigEndian.Uint32(v)))).Format(time.DateOnly)
		}
	case oidTimestamp, oidTimestamptz:
		if len(v) == 8 {
			return time.UnixMicro(epoch().UnixMicro() + int64(binary.BigEndian.Uint64(v))).UTC().Format("2006-01-02 15:04:05.999999")
		}
	case oidNumeric:
		if s, ok := readableNumeric(v); ok {
			return s
		}
	case 0:
		if utf8.Valid(v) && printable(v) {
			return string(v)
		}
	}
	return `\x` + hex.EncodeToString(v)
}

func printable(v []byte) bool {
	for _, b := range v {
		if b < 0x20 {
			return false
		}
	}
	return true
}

func readableInt(v []byte) string {
	switch len(v) {
	case 2:
		return strconv.Itoa(int(int16(binary.BigEndian.Uint16(v))))
	case 4:
		return strconv.Itoa(int(int32(binary.BigEndian.Uint32(v))))
	case 8:
		return strconv.FormatInt(int64(binary.BigEndian.Uint64(v)), 10)
	}
	return `\x` + hex.EncodeToString(v)
}

func readableFloat(v []byte) string {
	switch len(v) {
	case 4:
		return strconv.FormatFloat(float64(math.Float32frombits(binary.BigEndian.Uint32(v))), 'g', -1, 32)
	case 8:
		return strconv.FormatFloat(math.Float64frombits(binary.BigEndian.Uint64(v)), 'g', -1, 64)
	}
	return `\x` + hex.EncodeToString(v)
}

// readableNumeric reads numeric's binary form (numeric_send):
//
//	int16 ndigits | int16 weight | uint16 sign | int16 dscale | digits of base 10000
func readableNumeric(v []byte) (string, bool) {
	if len(v) < 8 {
		return "", false
	}
	n, weight := int(binary.BigEndian.Uint16(v)), int(int16(binary.BigEndian.Uint16(v[2:])))
	sign, scale := binary.BigEndian.Uint16(v[4:]), int(binary.BigEndian.Uint16(v[6:]))
	digits := v[8:]
	if sign == 0xC000 {
		return "NaN", true
	}
	if len(digits) != 2*n || weight > 1000 || scale > 1000 || sign&0x8000 != 0 {
		return "", false
	}
	at := func(i int) int {
		if i < 0 || i >= n {
			return 0
		}
		return int(binary.BigEndian.Uint16(digits[2*i:]))
	}
	var b strings.Builder
	if sign == 0x4000 {
		b.WriteByte('-')
	}
	b.WriteString(strconv.Itoa(at(0) * boolInt(weight >= 0)))
	for i := 1; i <= weight; i++ {
		fmt.Fprintf(&b, "%04d", at(i))
	}
	if scale == 0 {
		return b.String(), true
	}
	var f strings.Builder
	for i := weight + 1; f.Len() < scale; i++ {
		fmt.Fprintf(&f, "%04d", at(i))
	}
	return b.String() + "." + f.String()[:scale], true
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
