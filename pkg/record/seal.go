package record

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"golang.org/x/sys/unix"
)

// Sealed is what the log says of an ended tape.
type Sealed struct {
	Digest string // "sha256:" and hex, of the whole file
	Size   int64  // bytes
}

// End closes the tape and enters its digest into the log, both on disk when it
// returns: two waits, to be spent after the client has gone. outcome is a few words: "closed", "killed"...
// A tape that could not be written to the end is sealed as far as it goes, and said to be truncated.
func (t *Tape) End(outcome string) (Sealed, error) {
	body, err := json.Marshal(map[string]string{"outcome": outcome})
	if err != nil {
		return Sealed{}, fmt.Errorf("encode outcome: %w", err)
	}
	t.mu.Lock()
	if errors.Is(t.err, ErrEnded) {
		t.mu.Unlock()
		return Sealed{}, t.err
	}
	broken := t.append(KindEnd, body)
	t.err = ErrEnded
	size, requests := t.size, t.requests
	t.mu.Unlock()

	sealed, err := t.seal(size)
	result := map[string]any{"outcome": outcome, "requests": requests, "tape": t.path}
	if err == nil {
		result["digest"], result["size"] = sealed.Digest, sealed.Size
	}
	if broken != nil {
		result["truncated"] = true
	}
	logged := t.rec.ended(t.session, result)
	t.rec.forget(t.session)
	return sealed, errors.Join(broken, err, logged)
}

// seal cuts the file to its size, puts it on disk, and computes the digest.
func (t *Tape) seal(size int64) (Sealed, error) {
	err := t.rec.syncer.sync(cutter{t, size})
	t.syncing.Lock()
	defer t.syncing.Unlock()
	defer t.f.Close()
	t.closed = true
	if err != nil {
		return Sealed{}, fmt.Errorf("seal tape: %w", err)
	}
	digest, err := t.digest.sum(t.f, size)
	if err != nil {
		return Sealed{}, fmt.Errorf("seal tape: %w", err)
	}
	return Sealed{Digest: digest, Size: size}, nil
}

// cutter is the last flush of an ended tape.
type cutter struct {
	t    *Tape
	size int64
}

func (c cutter) flush() error {
	t := c.t
	t.syncing.Lock()
	defer t.syncing.Unlock()
	allocated := t.w.allocated()
	err := errors.Join(t.w.close(), t.f.Truncate(c.size), unix.Fdatasync(int(t.f.Fd())))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnwritable, err)
	}
	t.rec.quota.add(c.size - allocated)
	t.rec.commit.settle(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.safe, t.synced = t.size, t.size
	return nil
}

// ended enters a session's end into the log and waits until it is on disk.
func (r *Recorder) ended(session string, result map[string]any) error {
	return r.write(flow.Event{Type: flow.SessionEnded, Session: session, Result: result}, true)
}
