package postgres

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/chaperone-dev/chaperone/rules/mask"
)

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
