package mask

import (
	"encoding/binary"
	"time"
)

// Time masks a time or a date; a date is its midnight in UTC, and stays one.
func (m Mask) Time(t time.Time) time.Time {
	switch m.op() {
	case Bucket:
		return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, t.Location())
	case Shift:
		return t.AddDate(0, 0, m.days())
	}
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
}

// days is the mask's own offset, one to 365 days either way. It is the same for
// all values, so that the time between two of them stays.
func (m Mask) days() int {
	sum := m.digest('d', nil)
	n := 1 + int(binary.BigEndian.Uint32(sum[:4])%365)
	if sum[4]&1 == 1 {
		return -n
	}
	return n
}

// UUID masks a UUID. Keyed results are version 8 (RFC 9562: the bits are ours).
func (m Mask) UUID(u [16]byte) [16]byte {
	switch m.op() {
	case Hash, Token:
		sum := m.digest('u', u[:])
		u = [16]byte(sum[:16])
		u[6] = u[6]&0x0f | 0x80
		u[8] = u[8]&0x3f | 0x80
		return u
	case Partial:
		return [16]byte{14: u[14], 15: u[15]}
	}
	return [16]byte{}
}
