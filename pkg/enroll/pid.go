package enroll

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// ErrLeaderless means that a process's first thread has ended while others go on. The
// kernel moves those only, and shows the process where it was: outside of its enrollment.
var ErrLeaderless = errors.New("its first thread has ended")

// ErrKernel means that a process is a thread of the kernel's own, which stay in the root cgroup.
var ErrKernel = errors.New("it is a kernel thread")

// Movable says why a process cannot be moved into a cgroup of its own, nil when it can.
func Movable(pid int) error {
	stat, err := statOf(strconv.Itoa(pid))
	if err != nil {
		return fmt.Errorf("move process %d: %w", pid, err)
	}
	if stat[0] == "Z" || stat[0] == "X" {
		return fmt.Errorf("move process %d: %w", pid, ErrLeaderless)
	}
	if flags, err := strconv.ParseUint(stat[6], 10, 64); err == nil && flags&kernelThread != 0 {
		return fmt.Errorf("move process %d: %w", pid, ErrKernel)
	}
	above, err := ancestors()
	if err != nil {
		return fmt.Errorf("move process %d: %w", pid, err)
	}
	switch {
	case pid == os.Getpid():
		return fmt.Errorf("move process %d: %w", pid, ErrSelf)
	case slices.Contains(above, pid):
		return fmt.Errorf("move process %d: %w", pid, ErrAncestor)
	}
	return nil
}

// kernelThread is PF_KTHREAD (include/linux/sched.h).
const kernelThread = 0x00200000

// statOf returns the fields of a process's stat from its state on, the third (proc_pid_stat(5)).
func statOf(pid string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:])) // the name before it may hold anything
	if len(fields) < 7 {
		return nil, fmt.Errorf("stat of %s is short", pid)
	}
	return fields, nil
}

// ancestors lists the processes that this one descends from, as far as they can be seen from here.
func ancestors() ([]int, error) {
	var above []int
	pid := os.Getpid()
	for {
		stat, err := statOf(strconv.Itoa(pid))
		if ended(err) && len(above) > 0 {
			return above, nil // under our eyes
		}
		if err != nil {
			return nil, err
		}
		parent, err := strconv.Atoi(stat[1])
		if err != nil {
			return nil, err
		}
		if parent == 0 { // the first of all, or one from outside this pid namespace
			return above, nil
		}
		above, pid = append(above, parent), parent
	}
}

// Move puts a running process, with all its threads, into a cgroup of Make.
func Move(root, cgroup string, pid int) error {
	path := filepath.Join(root, cgroup, "cgroup.procs")
	if err := os.WriteFile(path, []byte(strconv.Itoa(pid)), 0); err != nil {
		return fmt.Errorf("move process %d: %w", pid, err)
	}
	return nil
}

// ended says that a process of /proc could not be read since it is gone.
func ended(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}
