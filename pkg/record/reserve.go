package record

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reserveBytes is the room kept for the last words on a full disk.
const reserveBytes = 512 << 10

// reserve is a file that holds disk space for the log's last words. It is used under the log's mutex.
type reserve struct {
	path  string
	empty bool
	tried time.Time
	more  func() error // takes back what else was given up for a last word; nil: nothing
}

// keepReserve makes the reserve, or takes over the one a previous run left. On a full disk it is spent
// from the start: there is a recorder, and it says why nothing may pass.
func keepReserve(dir string) (*reserve, error) {
	r := &reserve{path: filepath.Join(dir, "reserve")}
	err := r.allocate()
	if diskFull(err) {
		r.empty = true
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: keep a reserve: %w", ErrUnwritable, err)
	}
	return r, nil
}

// diskFull says that an error is for want of space.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func (r *reserve) spent() bool { return r.empty }

// spend frees the space.
func (r *reserve) spend() {
	r.empty = true
	_ = os.Truncate(r.path, 0) // if that fails, so does the next write
}

// refill takes the space back once there is twice as much, tried once a second.
func (r *reserve) refill(now time.Time) bool {
	if since := now.Sub(r.tried); since >= 0 && since < time.Second {
		return false
	}
	r.tried = now
	return r.allocate() == nil
}

func (r *reserve) allocate() error {
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, 2*reserveBytes); err != nil {
		_ = f.Truncate(0)
		return err
	}
	if r.more != nil {
		err = r.more()
	}
	if err != nil {
		_ = f.Truncate(0)
		return err
	}
	if err := f.Truncate(reserveBytes); err != nil {
		return err
	}
	r.empty = false
	return nil
}
