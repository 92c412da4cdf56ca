package enroll

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrLeaderless means that a process's first thread has ended while others go on. The
// kernel moves those only, and shows the process where it was: outside of its enrollment.
var ErrLeaderless = errors.New("its first thread has ended")

// Movable says why a process cannot be moved into a cgroup whole, nil when it can.
func Movable(pid int) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return fmt.Errorf("move process %d: %w", pid, err)
	}
	after := string(stat[strings.LastIndexByte(string(stat), ')')+1:]) // the name before it may hold anything
	if state, _, _ := strings.Cut(strings.TrimSpace(after), " "); state == "Z" || state == "X" {
		return fmt.Errorf("move process %d: %w", pid, ErrLeaderless)
	}
	return nil
}

// Move puts a running process, with all its threads, into a cgroup of Make.
func Move(root, cgroup string, pid int) error {
	path := filepath.Join(root, cgroup, "cgroup.procs")
	if err := os.WriteFile(path, []byte(strconv.Itoa(pid)), 0); err != nil {
		return fmt.Errorf("move process %d: %w", pid, err)
	}
	return nil
}
