package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Recorder is the one writer of a host's record.
type Recorder struct {
	dir     string
	lock    *os.File
	log     *hostLog
	commit  *commitFile
	syncer  *syncer
	flusher *flusher
	quota   *quota

	pruning sync.Mutex // held by Prune: nothing is removed twice

	// mu guards tapes (of the sessions that have not ended; nil while they are begun) and closed.
	mu     sync.Mutex
	tapes  map[string]*Tape
	closed bool
}

// Log enters an event into the host's log. When it returns, the entry has left
// the process; events that people or the law will ask for (ends of sessions, asks, refusals, admin
// acts, policies, grants, credentials) are on disk. An error wraps ErrUnwritable, ErrQuota, ErrTooLarge, ErrReserved or ErrEnded.
func (r *Recorder) Log(ev flow.Event) error { return r.logged(ev, durable(&ev)) }

// LogDurable is Log for an event that must be on disk whatever its type.
func (r *Recorder) LogDurable(ev flow.Event) error { return r.logged(ev, true) }

func (r *Recorder) logged(ev flow.Event, wait bool) error {
	if ev.Type == flow.SessionStarted || ev.Type == flow.SessionEnded || strings.HasPrefix(ev.Type, "recorder.") {
		return fmt.Errorf("log %s: %w", ev.Type, ErrReserved)
	}
	return r.write(ev, wait)
}

func (r *Recorder) write(ev flow.Event, wait bool) error {
	if _, err := r.log.append(ev); err != nil {
		return fmt.Errorf("log %s: %w", ev.Type, err)
	}
	if !wait {
		r.flusher.wake()
		return nil
	}
	if err := r.syncer.sync(r.log); err != nil {
		return fmt.Errorf("log %s: %w", ev.Type, err)
	}
	return nil
}

// swift are the types that need not be on disk before their cause goes on,
// unless they refuse or hold something.
var swift = []string{flow.SessionStarted, flow.RequestDecided, flow.RequestCompleted, flow.CaptureCanary}

func durable(ev *flow.Event) bool {
	if ev.Verdict != nil && (ev.Verdict.Verdict == flow.Deny || ev.Verdict.Verdict == flow.Hold) {
		return true
	}
	for _, kind := range swift {
		if ev.Type == kind {
			return false
		}
	}
	return true
}

// sessionID is what a session's id may look like: it names a file.
var sessionID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// Begin starts a session's tape and says so in the log. The caller ends it.
// An error wraps ErrUnwritable, ErrQuota or ErrEnded: the session must not take place.
func (r *Recorder) Begin(session string, f *flow.Flow) (*Tape, error) {
	if !sessionID.MatchString(session) {
		return nil, fmt.Errorf("begin session: malformed id of %d bytes", len(session))
	}
	if err := r.quota.admit(steps[0]); err != nil {
		return nil, fmt.Errorf("begin session: %w", err)
	}
	meta, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("begin session: encode flow: %w", err)
	}
	if err := r.claim(session); err != nil {
		return nil, fmt.Errorf("begin session: %w", err)
	}
	t, err := r.begun(session, f, meta)
	if err != nil {
		r.forget(session)
		return nil, fmt.Errorf("begin session: %w", err)
	}
	if err := r.remember(t); err != nil {
		return nil, fmt.Errorf("begin session: %w", err)
	}
	return t, nil
}

// begun logs a session's start and makes its tape.
func (r *Recorder) begun(session string, f *flow.Flow, meta []byte) (*Tape, error) {
	var err error
	start := r.log.config.Now()
	t := &Tape{rec: r, session: session, path: tapePath(session, start), start: start}
	t.begun, err = r.log.append(flow.Event{
		Type: flow.SessionStarted, Time: start, Session: session, Flow: f, Identity: f.Identity, Target: f.Target,
		Result: map[string]any{"tape": t.path},
	})
	if err != nil {
		return nil, err
	}
	if err := t.create(filepath.Join(r.dir, t.path), meta); err != nil {
		return nil, errors.Join(err, r.ended(session, map[string]any{"outcome": "not recorded", "requests": 0}))
	}
	return t, nil
}

// tapePath is where a session's tape is, below the record's directory.
func tapePath(session string, start time.Time) string {
	return filepath.Join("sessions", start.UTC().Format("2006/01/02"), session+".tape")
}

// claim takes an id for a session: two tapes of one name would end as one.
func (r *Recorder) claim(session string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrEnded
	}
	if _, taken := r.tapes[session]; taken {
		return fmt.Errorf("%w: session id is in use", ErrUnwritable)
	}
	r.tapes[session] = nil
	return nil
}

// remember lets Close find t. When Close was faster, t is ended here.
func (r *Recorder) remember(t *Tape) error {
	r.mu.Lock()
	closed := r.closed
	if !closed {
		r.tapes[t.session] = t
	}
	r.mu.Unlock()
	if !closed {
		return nil
	}
	_, err := t.End("daemon-stopped")
	return errors.Join(ErrEnded, err)
}

func (r *Recorder) forget(session string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tapes, session)
}

// Checkpoint signs where the log stands now, puts it on disk and returns the
// signed note, to be kept outside of this host: Verify holds the record against it.
func (r *Recorder) Checkpoint() (string, error) {
	signed, err := r.log.note()
	if err != nil {
		return "", err
	}
	return signed, r.syncer.sync(r.log)
}

// Mark tells where the log stands.
func (r *Recorder) Mark() Mark { return r.log.mark() }

// Err says why nothing can be recorded now; nil when it can.
func (r *Recorder) Err() error { return r.log.unwritable() }

// Used is the record's size in bytes, with the space allocated to open tapes.
func (r *Recorder) Used() int64 { return r.quota.used.Load() }

// Close ends the tapes that are still open, writes the last checkpoint, and
// returns when all is on disk. It waits for the goroutines Open started.
func (r *Recorder) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return ErrEnded
	}
	r.closed = true
	open := slices.Collect(maps.Values(r.tapes))
	r.mu.Unlock()
	lane := newLanes()
	for _, t := range open {
		if t != nil {
			lane.run(t.stop)
		}
	}
	err := lane.wait()
	r.flusher.stop()
	err = errors.Join(err, r.log.close())
	r.syncer.stop()
	return errors.Join(err, r.commit.f.Close(), r.lock.Close())
}

// stop ends a tape, unless its session did so first.
func (t *Tape) stop() error {
	_, err := t.End("daemon-stopped")
	if errors.Is(err, ErrEnded) {
		return nil
	}
	return err
}

// lockDir makes this process the one writer of a record.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock record: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrBusy
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock record %s: %w", dir, err)
	}
	return f, nil
}
