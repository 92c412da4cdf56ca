package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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

	// mu guards tapes (those that have not ended) and closed.
	mu     sync.Mutex
	tapes  map[*Tape]bool
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
	start := r.log.config.Now()
	t := &Tape{rec: r, session: session, path: tapePath(session, start), start: start}
	t.begun, err = r.log.append(flow.Event{
		Type: flow.SessionStarted, Time: start, Session: session, Flow: f, Identity: f.Identity, Target: f.Target,
		Result: map[string]any{"tape": t.path},
	})
	if err != nil {
		return nil, fmt.Errorf("begin session: %w", err)
	}
	if err := t.create(filepath.Join(r.dir, t.path), meta); err != nil {
		result := map[string]any{"outcome": "not recorded", "requests": 0}
		return nil, errors.Join(fmt.Errorf("begin session: %w", err), r.ended(session, result))
	}
	if err := r.remember(t); err != nil {
		_, ended := t.End("not begun")
		return nil, errors.Join(err, ended)
	}
	return t, nil
}

// tapePath is where a session's tape is, below the record's directory.
func tapePath(session string, start time.Time) string {
	return filepath.Join("sessions", start.UTC().Format("2006/01/02"), session+".tape")
}

func (r *Recorder) remember(t *Tape) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrEnded
	}
	r.tapes[t] = true
	return nil
}

func (r *Recorder) forget(t *Tape) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tapes, t)
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
	open := make([]*Tape, 0, len(r.tapes))
	for t := range r.tapes {
		open = append(open, t)
	}
	r.mu.Unlock()
	var err error
	for _, t := range open {
		if _, ended := t.End("daemon-stopped"); !errors.Is(ended, ErrEnded) {
			err = errors.Join(err, ended)
		}
	}
	r.flusher.stop()
	err = errors.Join(err, r.log.close())
	r.syncer.stop()
	return errors.Join(err, r.commit.f.Close(), r.lock.Close())
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
