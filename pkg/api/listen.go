package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Group is the user group that may reach the control socket, where it exists.
const Group = "chaperone"

// socket is a control socket that is listened on.
type socket struct {
	net.Listener
	path string
	lock *os.File // held as long as we listen
	file fs.FileInfo
}

// Listen takes the control socket at path: mode 0660 for root and the group
// chaperone if there is one, else 0600. A socket that a dead daemon left is
// replaced; one that is answered is ErrRunning; anything else at path stays, and is an error.
func Listen(path string) (net.Listener, error) {
	if err := safeDirectory(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	s := &socket{path: path, lock: lock}
	err = vacate(path)
	if err == nil {
		err = s.bind()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control socket %s: %w", path, err), lock.Close())
	}
	return s, nil
}

// safeDirectory makes dir if need be. Where others could put a file of the
// socket's name, they could pass for the daemon.
func safeDirectory(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if owner != 0 && owner != uint32(os.Geteuid()) {
		return fmt.Errorf("%s belongs to user %d, who could pass for the daemon", dir, owner)
	}
	if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("%s can be written by others, who could pass for the daemon (chmod 0755 it)", dir)
	}
	return nil
}

// lockFile keeps two daemons from taking one path at the same moment. The
// kernel drops the lock with the process.
func lockFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(ErrRunning, file.Close())
	}
	if !stands(file) { // Clear removed it in between: a lock on it keeps nobody out
		return nil, errors.Join(ErrRunning, file.Close())
	}
	return file, nil
}

// stands says that an open file is still the one of its name.
func stands(file *os.File) bool {
	ours, err := file.Stat()
	if err != nil {
		return false
	}
	theirs, err := os.Lstat(file.Name())
	return err == nil && os.SameFile(ours, theirs)
}

// Clear removes what a daemon that is gone left: the socket at path, and the lock beside it.
func Clear(path string) error {
	lock, err := lockFile(path + ".lock")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nor is its directory there
	}
	if err != nil {
		return fmt.Errorf("clear control socket %s: %w", path, err)
	}
	return errors.Join(vacate(path), os.Remove(lock.Name()), lock.Close())
}

// vacate removes a socket that nobody answers on.
func vacate(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return errors.New("something that is no socket is in its place")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(ErrRunning, c.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("cannot tell whether it is answered: %w", err)
	}
	return os.Remove(path)
}

// bind makes the socket under another name and moves it into place once its
// mode is right: it is never there for a moment with a wrong one.
func (s *socket) bind() error {
	temporary := s.path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "unix", temporary)
	if err != nil {
		return err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	err = guard(temporary)
	if err == nil {
		err = os.Rename(temporary, s.path)
	}
	if err != nil {
		return errors.Join(err, l.Close(), os.Remove(temporary))
	}
	s.Listener = l
	s.file, err = os.Lstat(s.path)
	return err
}

// guard gives the socket its owner and mode.
func guard(path string) error {
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	group, err := user.LookupGroup(Group)
	if err != nil {
		return nil // no such group: root only
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return err
	}
	if err := os.Chown(path, -1, gid); err != nil {
		return err
	}
	return os.Chmod(path, 0o660)
}

// Close stops listening and takes the socket away, if it is still ours.
func (s *socket) Close() error {
	err := s.Listener.Close()
	if now, statErr := os.Lstat(s.path); statErr == nil && os.SameFile(now, s.file) {
		err = errors.Join(err, os.Remove(s.path))
	}
	return errors.Join(err, s.lock.Close())
}
