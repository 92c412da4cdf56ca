package postgres

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/chaperone-dev/chaperone/rules/mask"
)

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
