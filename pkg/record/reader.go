package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Reader reads a record, whether or not a recorder is writing it.
type Reader struct {
	dir string
}

// OpenReader opens the record in dir (STATE/record) for reading.
func OpenReader(dir string) (*Reader, error) {
	if _, err := os.Stat(filepath.Join(dir, "log")); err != nil {
		return nil, fmt.Errorf("open record: %w", err)
	}
	return &Reader{dir: dir}, nil
}

// Place is somewhere in the log.
type Place struct {
	File   string `json:"file"`   // below the record's directory
	Offset int64  `json:"offset"` // bytes from the start of the file
	Seq    uint64 `json:"seq"`    // of the entry that stands, or should stand, there
}

// Damage is a place in the log that cannot be read.
type Damage struct {
	Place
	What string `json:"what"`
}

func (d *Damage) Error() string {
	return fmt.Sprintf("%s at byte %d (entry %d): %s", d.File, d.Offset, d.Seq, d.What)
}

// Events yields the log's events from number from on, in order. A damaged place yields
// a *Damage, and reading goes on behind it if the loop does; any other error ends it. Nothing is verified but checksums.
func (r *Reader) Events(from uint64) iter.Seq2[flow.Event, error] {
	return func(yield func(flow.Event, error) bool) {
		_, _ = r.raw(cursor{seq: from}, "", decoded(yield))
	}
}

// followEvery is how often Follow looks for new entries.
const followEvery = 100 * time.Millisecond

// Follow is Events that waits for more at the end, until ctx is over.
func (r *Reader) Follow(ctx context.Context, from uint64) iter.Seq2[flow.Event, error] {
	return func(yield func(flow.Event, error) bool) {
		at := cursor{seq: from}
		for more := true; more; {
			at, more = r.raw(at, "", decoded(yield))
			select {
			case <-ctx.Done():
				return
			case <-time.After(followEvery):
			}
		}
	}
}

func decoded(yield func(flow.Event, error) bool) func([]byte, error) bool {
	return func(payload []byte, err error) bool {
		if err != nil {
			return yield(flow.Event{}, err)
		}
		var ev flow.Event
		if err := json.Unmarshal(payload, &ev); err != nil {
			return yield(flow.Event{}, fmt.Errorf("decode entry %d: %w", seqOf(payload), err))
		}
		return yield(ev, nil)
	}
}

// cursor is where reading goes on.
type cursor struct {
	seq uint64 // the next entry wanted
	num int    // the segment it is in; 0: not known
	off int64  // where in the segment; 0: at its start
}

// raw yields the payloads, valid during the call, of entries whose type starts
// with prefix. It returns where to go on, and whether the loop wants to.
func (r *Reader) raw(at cursor, prefix string, yield func([]byte, error) bool) (cursor, bool) {
	list, err := segments(filepath.Join(r.dir, "log"))
	if err != nil {
		return at, yield(nil, err)
	}
	for i, s := range list {
		if s.num < at.num || i+1 < len(list) && startsBefore(list[i+1], at.seq) {
			continue
		}
		if s.num != at.num {
			at.num, at.off = s.num, 0
		}
		if !r.segment(&at, s, i+1 == len(list), prefix, yield) {
			return at, false
		}
	}
	return at, true
}

// startsBefore says whether a segment's first entry is seq or an earlier one.
func startsBefore(s segment, seq uint64) bool {
	l, err := openSegment(s)
	if err != nil {
		return false
	}
	defer l.close()
	return l.first <= seq
}

// segment yields the entries of one segment.
func (r *Reader) segment(at *cursor, s segment, last bool, prefix string, yield func([]byte, error) bool) bool {
	file := filepath.Join("log", s.name())
	l, err := openSegment(s)
	if bad, ok := errors.AsType[problem](err); ok {
		if last {
			return true // just being made
		}
		return yield(nil, &Damage{Place{file, 0, at.seq}, string(bad)})
	}
	if err != nil {
		return yield(nil, err)
	}
	defer l.close()
	if at.off > l.off {
		l.off = at.off
	}
	for seq := l.first; ; {
		e, err := l.next()
		at.off = l.off
		if err == nil {
			seq = seqOf(e.payload) + 1
			if seq <= at.seq {
				continue
			}
			at.seq = seq
			if isType(e.payload, prefix) && !yield(e.payload, nil) {
				return false
			}
			continue
		}
		if errors.Is(err, io.EOF) {
			return true
		}
		bad, ok := errors.AsType[problem](err)
		if !ok {
			return yield(nil, err)
		}
		found, err := l.resync()
		if err != nil {
			return yield(nil, err)
		}
		if !found && last && bad == errShort {
			return true // being written, or torn
		}
		if !yield(nil, &Damage{Place{file, at.off, max(seq, at.seq)}, string(bad)}) {
			return false
		}
		if !found {
			at.off = l.off + int64(len(l.have))
			return true
		}
	}
}
