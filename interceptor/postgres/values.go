package postgres

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/chaperone-dev/chaperone/rules/mask"
)

// OIDs of types (pg_type.dat).
const (
	oidBool        = 16
	oidBytea       = 17
	oidName        = 19
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidOID         = 26
	oidJSON        = 114
	oidXML         = 142
	oidCIDR        = 650
	oidFloat4      = 700
	oidFloat8      = 701
	oidUnknown     = 705
	oidMacaddr     = 829
	oidInet        = 869
	oidBpchar      = 1042
	oidVarchar     = 1043
	oidDate        = 1082
	oidTime        = 1083
	oidTimestamp   = 1114
	oidTimestamptz = 1184
	oidInterval    = 1186
	oidNumeric     = 1700
	oidUUID        = 2950
	oidJSONB       = 3802
)

// elements gives the element type of the system's array types.
var elements = map[uint32]uint32{
	1000: oidBool, 1001: oidBytea, 1003: oidName, 1005: oidInt2, 1007: oidInt4, 1009: oidText, 1014: oidBpchar,
	1015: oidVarchar, 1016: oidInt8, 1021: oidFloat4, 1022: oidFloat8, 1028: oidOID, 1041: oidInet, 651: oidCIDR,
	1040: oidMacaddr, 1115: oidTimestamp, 1182: oidDate, 1183: oidTime, 1185: oidTimestamptz, 1187: oidInterval,
	1231: oidNumeric, 2951: oidUUID, 199: oidJSON, 3807: oidJSONB, 143: oidXML,
}

// typed appends a value of the column's type and format that shows no more of
// value than with lets through; nil for NULL, where no other value is sure to be
// valid. value is nil for one that must not be looked at.
func (c *column) typed(dst, value []byte, with mask.Mask) []byte {
	switch c.oid {
	case oidText, oidVarchar, oidBpchar, oidName, oidUnknown:
		return c.cut(len(dst), with.Text(dst, value))
	case oidJSON:
		return with.JSON(dst, orNothing(value))
	case oidJSONB:
		return jsonb(dst, value, with, c.binary)
	}
	if element, ok := elements[c.oid]; ok {
		if c.binary { // no dimensions, no NULLs, element type
			return binary.BigEndian.AppendUint32(append(dst, 0, 0, 0, 0, 0, 0, 0, 0), element)
		}
		return append(dst, "{}"...)
	}
	if c.binary {
		return c.typedBinary(dst, value, with)
	}
	return c.typedText(dst, value, with)
}

// cut shortens a text to what its column can hold: varchar(n) has modifier n+4.
func (c *column) cut(from int, dst []byte) []byte {
	limit := math.MaxInt
	switch {
	case c.oid == oidName:
		limit = 63
	case (c.oid == oidVarchar || c.oid == oidBpchar) && c.size >= 4:
		limit = int(c.size) - 4
	}
	if len(dst)-from <= limit {
		return dst
	}
	for i := range dst[from : from+limit] {
		if dst[from+i] >= 0x80 { // partial keeps characters: cut none in two
			dst[from+i] = '*'
		}
	}
	return dst[:from+limit]
}

func orNothing(value []byte) []byte {
	if value == nil {
		return []byte(`""`)
	}
	return value
}

func jsonb(dst, value []byte, with mask.Mask, bin bool) []byte {
	if !bin {
		return with.JSON(dst, orNothing(value))
	}
	if len(value) > 0 {
		value = value[1:] // the version
	}
	return with.JSON(append(dst, 1), orNothing(value))
}

// typedText is typed for types whose text form is not text.
func (c *column) typedText(dst, value []byte, with mask.Mask) []byte {
	switch c.oid {
	case oidInt2, oidInt4, oidInt8, oidOID:
		v, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			v, with = 0, mask.Mask{}
		}
		return strconv.AppendInt(dst, with.Int(v, intBits(c.oid)), 10)
	case oidFloat4, oidFloat8:
		v, err := strconv.ParseFloat(string(value), 64)
		if err != nil {
			v, with = 0, mask.Mask{}
		}
		return strconv.AppendFloat(dst, with.Float(v), 'g', -1, floatBits(c.oid))
	case oidNumeric:
		return c.fit(len(dst), with.Decimal(dst, value))
	case oidBool:
		return append(dst, 'f')
	case oidUUID:
		return textUUID(dst, value, with)
	case oidBytea:
		return textBytes(dst, value, with)
	case oidInet:
		return append(dst, "0.0.0.0"...)
	case oidCIDR:
		return append(dst, "0.0.0.0/32"...)
	case oidMacaddr:
		return append(dst, "00:00:00:00:00:00"...)
	case oidTime:
		return append(dst, "00:00:00"...)
	case oidInterval:
		return append(dst, "00:00:00"...)
	case oidDate, oidTimestamp, oidTimestamptz:
		return c.textTime(dst, value, with)
	}
	return nil
}

// fit keeps a numeric(p,s), whose modifier is p<<16 + s + 4, within its digits.
func (c *column) fit(from int, dst []byte) []byte {
	if c.size < 4 {
		return dst
	}
	room := int(c.size-4)>>16&0xffff - int(c.size-4)&0x7ff
	digits := dst[from:]
	if i := bytes.IndexByte(digits, '.'); i >= 0 {
		digits = digits[:i]
	}
	digits = bytes.TrimPrefix(digits, []byte("-"))
	if len(digits) <= room {
		return dst
	}
	last := bytes.Clone(digits[len(digits)-max(room, 0):])
	dst = append(dst[:from], last...)
	if len(last) == 0 {
		dst = append(dst, '0')
	}
	return dst
}

func intBits(oid uint32) int {
	switch oid {
	case oidInt2:
		return 16
	case oidInt8:
		return 64
	}
	return 32
}

func floatBits(oid uint32) int {
	if oid == oidFloat4 {
		return 32
	}
	return 64
}

func textUUID(dst, value []byte, with mask.Mask) []byte {
	var u [16]byte
	if len(value) != 36 || !unhexUUID(&u, value) {
		with = mask.Mask{}
	}
	u = with.UUID(u)
	for i, b := range u {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, []byte{b})
	}
	return dst
}

func unhexUUID(u *[16]byte, text []byte) bool {
	var digits [32]byte
	n := 0
	for _, c := range text {
		if c != '-' && n < len(digits) {
			digits[n] = c
			n++
		}
	}
	_, err := hex.Decode(u[:], digits[:n])
	return err == nil && n == len(digits)
}

func textBytes(dst, value []byte, with mask.Mask) []byte {
	raw := value
	if len(value) >= 2 && value[0] == '\\' && value[1] == 'x' {
		raw, _ = hex.DecodeString(string(value[2:]))
	}
	dst = append(dst, '\\', 'x')
	return hex.AppendEncode(dst, with.Bytes(nil, raw))
}

// textTime reads ISO dates only; what is written otherwise is redacted. The result is
// ISO, which servers and drivers read under any DateStyle.
func (c *column) textTime(dst, value []byte, with mask.Mask) []byte {
	layouts := []string{time.DateOnly}
	switch c.oid {
	case oidTimestamp:
		layouts = []string{"2006-01-02 15:04:05.999999"}
	case oidTimestamptz:
		layouts = []string{"2006-01-02 15:04:05.999999-07", "2006-01-02 15:04:05.999999-07:00"}
	}
	at, read := time.Unix(0, 0).UTC(), false
	for _, l := range layouts {
		if t, err := time.Parse(l, string(value)); err == nil {
			at, read = t, true
			break
		}
	}
	if !read {
		with = mask.Mask{}
	}
	return with.Time(at).AppendFormat(dst, layouts[0])
}

// epoch is PostgreSQL's: dates count days from it, timestamps microseconds.
func epoch() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// typedBinary is typed for types whose binary form is not text.
func (c *column) typedBinary(dst, value []byte, with mask.Mask) []byte {
	switch c.oid {
	case oidInt2, oidInt4, oidInt8, oidOID:
		return binaryInt(dst, value, with, intBits(c.oid))
	case oidFloat4, oidFloat8:
		return binaryFloat(dst, value, with, floatBits(c.oid))
	case oidNumeric: // no digits, weight 0, positive, scale 0: zero
		return append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	case oidBool:
		return append(dst, 0)
	case oidUUID:
		var u [16]byte
		if copy(u[:], value) != len(u) {
			with = mask.Mask{}
		}
		u = with.UUID(u)
		return append(dst, u[:]...)
	case oidBytea:
		return with.Bytes(dst, value)
	case oidInet: // IPv4, 32 bits, not a cidr, 4 bytes
		return append(dst, 2, 32, 0, 4, 0, 0, 0, 0)
	case oidCIDR:
		return append(dst, 2, 32, 1, 4, 0, 0, 0, 0)
	case oidMacaddr:
		return append(dst, 0, 0, 0, 0, 0, 0)
	case oidTime:
		return append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	case oidInterval:
		return append(dst, make([]byte, 16)...)
	case oidDate:
		return binaryDate(dst, value, with)
	case oidTimestamp, oidTimestamptz:
		return binaryTime(dst, value, with)
	}
	return nil
}

func binaryInt(dst, value []byte, with mask.Mask, bits int) []byte {
	v := int64(0)
	switch len(value) {
	case 2:
		v = int64(int16(binary.BigEndian.Uint16(value)))
	case 4:
		v = int64(int32(binary.BigEndian.Uint32(value)))
	case 8:
		v = int64(binary.BigEndian.Uint64(value))
	default:
		with = mask.Mask{}
	}
	v = with.Int(v, bits)
	switch bits {
	case 16:
		return binary.BigEndian.AppendUint16(dst, uint16(v))
	case 32:
		return binary.BigEndian.AppendUint32(dst, uint32(v))
	}
	return binary.BigEndian.AppendUint64(dst, uint64(v))
}

func binaryFloat(dst, value []byte, with mask.Mask, bits int) []byte {
	v := 0.0
	switch len(value) {
	case 4:
		v = float64(math.Float32frombits(binary.BigEndian.Uint32(value)))
	case 8:
		v = math.Float64frombits(binary.BigEndian.Uint64(value))
	default:
		with = mask.Mask{}
	}
	v = with.Float(v)
	if bits == 32 {
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(float32(v)))
	}
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v))
}

func binaryDate(dst, value []byte, with mask.Mask) []byte {
	at := epoch()
	if len(value) == 4 && !infinite32(value) {
		at = epoch().AddDate(0, 0, int(int32(binary.BigEndian.Uint32(value))))
	} else {
		with = mask.Mask{}
	}
	days := math.Floor(with.Time(at).Sub(epoch()).Hours() / 24)
	return binary.BigEndian.AppendUint32(dst, uint32(int32(days)))
}

func infinite32(b []byte) bool {
	v := int32(binary.BigEndian.Uint32(b))
	return v > 365*1000 || v < -365*2000
}

func binaryTime(dst, value []byte, with mask.Mask) []byte {
	at := epoch()
	us := int64(0)
	if len(value) == 8 {
		us = int64(binary.BigEndian.Uint64(value))
	}
	if len(value) == 8 && us > -1<<55 && us < 1<<55 {
		at = time.UnixMicro(epoch().UnixMicro() + us).UTC()
	} else {
		with = mask.Mask{}
	}
	return binary.BigEndian.AppendUint64(dst, uint64(with.Time(at).UnixMicro()-epoch().UnixMicro()))
}

// textual says that detectors look at a type: all but those whose values cannot
// hold text.
func textual(oid uint32) bool {
	switch oid {
	case oidBool, oidBytea, oidInt8, oidInt2, oidInt4, oidOID, oidFloat4, oidFloat8, oidNumeric, oidUUID,
		oidDate, oidTime, oidTimestamp, oidTimestamptz, oidInterval, oidInet, oidCIDR, oidMacaddr:
		return false
	}
	e, array := elements[oid]
	return !array || textual(e)
}

// detect appends value with what the detectors find in it hidden. set stands in the column's mask.
func (c *column) detect(dst, value []byte) ([]byte, int) {
	if !c.set.Find(value) {
		return append(dst, value...), 0
	}
	switch c.oid {
	case oidJSON, oidJSONB:
		return c.detectJSON(dst, value)
	case oidText, oidVarchar, oidBpchar, oidName, oidUnknown, oidXML:
		return c.set.Scrub(dst, value, c.with)
	}
	if c.binary { // lengths stand within: nothing can be replaced in place
		return c.typed(dst, nil, mask.Mask{}), 1
	}
	return c.set.Scrub(dst, value, c.with)
}

// detectJSON keeps JSON valid: a number that was found cannot become a bare word.
func (c *column) detectJSON(dst, value []byte) ([]byte, int) {
	body := value
	if c.oid == oidJSONB && c.binary && len(value) > 0 {
		dst, body = append(dst, value[0]), value[1:]
	}
	at := len(dst)
	out, n := c.set.Scrub(dst, body, c.with)
	if json.Valid(out[at:]) {
		return out, n
	}
	return mask.Mask{}.JSON(out[:at], body), n
}
