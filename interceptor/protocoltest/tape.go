package protocoltest

import (
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// ErrTape is what a Tape that is told to fail answers.
var ErrTape = errors.New("no space left on the tape")

// Tape remembers what was taken down, and fails on demand.
type Tape struct {
	Entries []Entry
	Syncs   int
	FailAt  int  // the number of the Append (from 1) that fails; 0: none
	Forget  bool // keep no entries: for memory measurements

	driver  *Driver
	appends int
	// Upward is, per Append, how many bytes had been released upward when it was called.
	Upward []int
}

// Entry is one tape entry.
type Entry struct {
	Kind interceptor.TapeKind
	Body []byte
}

// Append takes an entry down.
func (t *Tape) Append(kind interceptor.TapeKind, body []byte) error {
	t.appends++
	if t.Forget {
		return nil
	}
	t.Upward = append(t.Upward, t.released())
	if t.FailAt > 0 && t.appends >= t.FailAt {
		return ErrTape
	}
	t.Entries = append(t.Entries, Entry{kind, append([]byte(nil), body...)})
	return nil
}

// Sync counts.
func (t *Tape) Sync() error {
	t.Syncs++
	return nil
}

// Stream is what was taken down of one kind, put together.
func (t *Tape) Stream(kind interceptor.TapeKind) []byte {
	var all []byte
	for _, e := range t.Entries {
		if e.Kind == kind {
			all = append(all, e.Body...)
		}
	}
	return all
}

func (t *Tape) released() int {
	if t.driver == nil {
		return 0
	}
	n := len(t.driver.Written[interceptor.Up])
	if t.driver.feeding == int(interceptor.Up) {
		n += t.driver.out[interceptor.Up].Size()
	}
	return n
}

// Meter counts masked fields and forgets the rest.
type Meter struct{ Fields int }

// Flow does nothing.
func (*Meter) Flow(*flow.Flow, int) {}

// Request does nothing.
func (*Meter) Request(string, string, flow.Verdict) {}

// Bytes does nothing.
func (*Meter) Bytes(string, interceptor.Direction, int) {}

// Masked counts.
func (m *Meter) Masked(_, _ string, n int) { m.Fields += n }

// Recorded does nothing.
func (*Meter) Recorded(time.Duration) {}

// Refused does nothing.
func (*Meter) Refused(string) {}

// Session makes a session to test an engine in: no policy, no masks, a full record.
func Session(tape interceptor.Tape) *interceptor.Session {
	s := &interceptor.Session{
		ID:     "test",
		Flow:   &flow.Flow{ID: "test", Identity: "bot", Target: "target", Seen: flow.Inspected},
		Target: &rules.Target{Name: "target"},
		Masks:  &rules.Masks{},
		Level:  rules.RecordFull,
		Tape:   tape,
		Meter:  &Meter{},
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	return s.Journaled(&Journal{})
}
