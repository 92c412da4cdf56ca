package postgres

import (
	"encoding/binary"
	"encoding/json"
	"math"

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
