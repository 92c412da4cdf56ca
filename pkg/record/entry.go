package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// A log entry on disk, integers little-endian:
//
//	+--------+--------+-----------------+---------------------+
//	| len u32| crc u32| hash [32]byte   | payload [len]byte   |
//	+--------+--------+-----------------+---------------------+
//
// crc is CRC-32C over len, hash and payload; hash is SHA-256 over the previous
// entry's hash and the payload; the payload is the JSON of a flow.Event.
const (
	entryHead  = 4 + 4 + sha256.Size
	maxPayload = 16 << 20
	// maxText is what the log keeps of a statement; all of it is on the tape. A
	// subagent that is refused large statements all day must not fill the disk.
	maxText = 16 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chain is a chain head: the hash of the newest entry.
type chain [sha256.Size]byte

func (c chain) next(payload []byte) chain {
	h := sha256.New()
	h.Write(c[:])
	h.Write(payload)
	return chain(h.Sum(nil))
}

// unnumbered is how the JSON of an event without a number starts: V and Seq
// are the first fields of flow.Event, so that an entry is encoded before its number is known.
var unnumbered = []byte(`{"v":1,"seq":0,`)

// encode renders an event, its number still to come.
func encode(ev flow.Event) ([]byte, error) {
	ev.V, ev.Seq = 1, 0
	if ev.Request != nil && len(ev.Request.Text) > maxText {
		cut := *ev.Request
		cut.Text = fmt.Sprintf("%s… (%d bytes, the tape has all)", cut.Text[:maxText], len(cut.Text))
		ev.Request = &cut
	}
	payload, err := json.Marshal(ev)
	if err != nil {
		return nil, fmt.Errorf("encode %s event: %w", ev.Type, err)
	}
	if !bytes.HasPrefix(payload, unnumbered) {
		panic("flow.Event no longer starts with v and seq")
	}
	if len(payload) > maxPayload-32 {
		return nil, fmt.Errorf("encode %s event of %d bytes: %w", ev.Type, len(payload), ErrTooLarge)
	}
	return payload, nil
}

// appendEntry puts the entry for an encoded event at the end of b, and returns
// the chain's new head.
func appendEntry(b []byte, unnumberedPayload []byte, seq uint64, prev chain) ([]byte, chain) {
	start := len(b)
	b = append(b, make([]byte, entryHead)...)
	b = fmt.Appendf(b, `{"v":1,"seq":%d,`, seq)
	b = append(b, unnumberedPayload[len(unnumbered):]...)
	entry := b[start:]
	head := prev.next(entry[entryHead:])
	binary.LittleEndian.PutUint32(entry, uint32(len(entry)-entryHead))
	copy(entry[8:], head[:])
	binary.LittleEndian.PutUint32(entry[4:], entryCRC(entry))
	return b, head
}

func entryCRC(entry []byte) uint32 {
	return crc32.Update(crc32.Checksum(entry[:4], castagnoli), castagnoli, entry[8:])
}

// entry is one log entry as read back. payload is valid as long as the bytes it was cut from.
type entry struct {
	payload []byte
	hash    chain
	size    int64
}

// problem is what is wrong with bytes that should be an entry.
type problem string

func (p problem) Error() string { return string(p) }

// What can be wrong with an entry.
const (
	errShort  = problem("entry is not complete")
	errLength = problem("entry length is impossible")
	errCRC    = problem("entry checksum is wrong")

	errHeaderShort = problem("segment header is not complete")
	errStranger    = problem("segment is not a regular file")
)

// cutEntry reads the entry b starts with. It checks the checksum, not the chain.
func cutEntry(b []byte) (entry, error) {
	if len(b) < entryHead {
		return entry{}, errShort
	}
	n := binary.LittleEndian.Uint32(b)
	if n < uint32(len(unnumbered)) || n > maxPayload {
		return entry{}, errLength
	}
	size := entryHead + int(n)
	if len(b) < size {
		return entry{}, errShort
	}
	if entryCRC(b[:size]) != binary.LittleEndian.Uint32(b[4:]) {
		return entry{}, errCRC
	}
	return entry{payload: b[entryHead:size], hash: chain(b[8:entryHead]), size: int64(size)}, nil
}

// seqOf reads the number out of a payload; 0 if it has none.
func seqOf(payload []byte) uint64 {
	rest, ok := bytes.CutPrefix(payload, []byte(`{"v":1,"seq":`))
	if !ok {
		return 0
	}
	var n uint64
	for i, c := range rest {
		if c == ',' && i > 0 {
			return n
		}
		if c < '0' || c > '9' || n > math.MaxUint64/10-1 {
			return 0
		}
		n = n*10 + uint64(c-'0')
	}
	return 0
}

// isType says whether the type of a payload's event starts with prefix, without
// decoding it. Only v, seq, time and host stand before the type, and none of them can hold an
// unescaped quote: the first "type" is the event's own.
func isType(payload []byte, prefix string) bool {
	_, rest, ok := bytes.Cut(payload, []byte(`"type":"`))
	return ok && bytes.HasPrefix(rest, []byte(prefix))
}
