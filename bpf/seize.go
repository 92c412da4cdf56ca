package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// seize takes a pin directory for this process, until the file is closed or the process ends.
func seize(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock the pins: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrBusy
		}
		return nil, errors.Join(fmt.Errorf("lock the pins in %s: %w", dir, err), f.Close())
	}
	held, err := f.Stat()
	there, again := os.Stat(dir)
	if err != nil || again != nil || !os.SameFile(held, there) { // a cleanup took it away under our eyes
		return nil, errors.Join(fmt.Errorf("lock the pins in %s: %w", dir, ErrBusy), f.Close())
	}
	return f, nil
}

// ErrElsewhere means that what is pinned under a number belongs to another cgroup, whose
// processes would be free if it were put here.
var ErrElsewhere = errors.New("its pins belong to another cgroup")

// notElsewhere says that no link below pins hangs on a cgroup, of those below root, that is not path's.
func notElsewhere(pins, path, root string) error {
	entries, err := os.ReadDir(pins)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pinned links: %w", err)
	}
	here, err := cgroupID(path)
	if err != nil && !errors.Is(err, ErrGone) {
		return err
	}
	for _, e := range entries {
		at, err := hangingOn(filepath.Join(pins, e.Name()))
		if err != nil {
			return fmt.Errorf("pinned link: %w", err)
		}
		if at == 0 || at == here {
			continue
		}
		if other, found := cgroupOfID(root, at); found {
			return fmt.Errorf("%w: %s", ErrElsewhere, other)
		}
	}
	return nil
}

// hangingOn is the id of the cgroup a pinned link is attached to; 0 for one that is gone.
func hangingOn(pin string) (uint64, error) {
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	info, err := l.Info()
	if err != nil || info.Cgroup() == nil {
		return 0, err
	}
	return info.Cgroup().CgroupId, nil
}

// cgroupOfID finds a cgroup by its id. A cgroup that was removed is not found, though its
// links may name it for a while.
func cgroupOfID(root string, id uint64) (string, bool) {
	found := ""
	_ = filepath.WalkDir(root, func(dir string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil // gone while we looked
		}
		if info, err := e.Info(); err == nil && info.Sys().(*syscall.Stat_t).Ino == id {
			found = dir
			return fs.SkipAll
		}
		return nil
	})
	return found, found != ""
}
