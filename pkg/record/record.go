// Package record keeps what happened: one append-only log per host, and one
// tape per session whose digest enters that log.
//
//	DIR/log/0001.log                     the host's log, in segments
//	DIR/sessions/2026/11/23/<id>.tape    one session each
//	DIR/host.key  DIR/host.pub           what the log's checkpoints are signed with (0600), verified with
//	DIR/lock                             held by the one writer
//	DIR/commit                           what many tapes wait for, synced together (4 MiB)
//	DIR/reserve                          room for the last words on a full disk
//
// # Why
//
// Tapes are written by memcpy into a mapped, allocated file: a statement's
// record then costs a few hundred nanoseconds and survives a killed daemon,
// where a write(2) costs ten times that on the data path. The log is written by
// write(2), one entry at a time, because it is the one thing whose order and
// chain everything else leans on. A database under both was turned down: it
// would have to be trusted to verify, and a record must outlive its tools.
//
// # What it cannot show
//
// A tail cut off at the end of an entry, after the last checkpoint, looks like a daemon that was killed
// there, unless a checkpoint note kept outside of the host (Recorder.Checkpoint, Verify's anchors) says more.
// Either is doubted for ever, and connections whose entries were removed are missing from the kernel's count at the next start.
// Who holds host.key can rewrite everything after the last such note.
package record

import (
	"errors"
	"fmt"
	"time"
)

// Event types the recorder writes itself; Log refuses them from others, and
// flow.SessionStarted and flow.SessionEnded with them.
const (
	Checkpointed = "recorder.checkpoint"
	Recovered    = "recorder.recovered" // a torn tail was cut, or sessions were closed, after a crash
	Broken       = "recorder.broken"    // the log before this entry is damaged; the result names the place
	Full         = "recorder.full"      // the last word before the disk was full
	Resumed      = "recorder.resumed"   // there is room again
	Pruned       = "recorder.pruned"    // names what was removed, on whose order is an admin event's to say
)

// What a caller may want to tell apart.
var (
	// ErrUnwritable means that nothing can be recorded now: nothing may pass.
	ErrUnwritable = errors.New("the record cannot be written")
	// ErrQuota means that the record has reached its size limit. Prune makes room.
	ErrQuota = errors.New("the record has reached its size limit")
	// ErrBusy means that another process writes this record.
	ErrBusy = errors.New("another process writes this record")
	// ErrEnded means that the tape was ended, or the recorder closed.
	ErrEnded = errors.New("the recording has ended")
	// ErrReserved means that only the recorder itself writes events of this type.
	ErrReserved = errors.New("only the recorder writes such an event")
	// ErrTooLarge means that an entry is larger than any reader would accept.
	ErrTooLarge = errors.New("entry too large")
	// ErrNotFound means that the record has no such session or tape.
	ErrNotFound = errors.New("not in the record")
)

// Kind says what a tape entry's body is. The numbers are on disk, and are the interceptor's.
type Kind uint8

// Kinds of tape entries. Up and Down bodies, concatenated, are the conversation
// as the client had it; an entry may start and end inside a message.
const (
	KindMeta    Kind = 1 // JSON of flow.Flow
	KindUp      Kind = 2
	KindDown    Kind = 3
	KindVerdict Kind = 4 // JSON: a request was decided; its bytes follow as KindUp
	KindOmitted Kind = 5 // JSON: stream bytes left out by the record level
	KindEnd     Kind = 6 // JSON: {"outcome"}; nothing follows
)

var kindNames = []string{"", "meta", "up", "down", "verdict", "omitted", "end"}

func (k Kind) String() string {
	if int(k) < len(kindNames) && k != 0 {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Config says where and how to record. Zero durations and sizes mean the defaults.
type Config struct {
	Dir  string // STATE/record; made if missing
	Host string // the host's name in every entry; empty: the kernel's
	// Counters are read for each checkpoint: what the kernel counted, for the
	// completeness check. May be nil.
	Counters func() map[string]uint64
	// FlushEvery is how old an entry may get before it is on disk although nobody
	// waits for it (200ms). One flush costs one fdatasync per tape written to meanwhile:
	// 0.1-0.2 ms of the disk each; a flush that takes long lengthens the pause after it to
	// three times its duration, so that flushing never takes more than a quarter of the disk's time.
	FlushEvery time.Duration
	// A checkpoint is signed every CheckpointEvery (1m) in which there were
	// entries, and every CheckpointEntries (1000).
	CheckpointEvery   time.Duration
	CheckpointEntries int
	// SegmentBytes is the size at which the log turns to a new file (64 MiB).
	SegmentBytes int64
	// MaxBytes bounds the record; 0: the disk does. Sessions are refused at 95 % of it.
	MaxBytes int64
	// Now is the clock of events that bring no time; nil: time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	setDefault(&c.FlushEvery, 200*time.Millisecond)
	setDefault(&c.CheckpointEvery, time.Minute)
	setDefault(&c.CheckpointEntries, 1000)
	setDefault(&c.SegmentBytes, 64<<20)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func setDefault[T comparable](v *T, d T) {
	if *v == *new(T) {
		*v = d
	}
}
