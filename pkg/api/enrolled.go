package api

import (
	"bytes"
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

// errEnrolled is why a subagent gets no answer. It is told no more than that.
var errEnrolled = fmt.Errorf("%w: an enrolled process has no business here", ErrRefused)

// errDoubt covers every way of not finding out whether a peer is enrolled.
var errDoubt = fmt.Errorf("%w: the caller could not be identified", ErrRefused)

// generations bounds the walk to a process's ancestors.
const generations = 128

// free is nil when neither p nor any of its ancestors has a thread in an enrolled
// cgroup. Doubt is not nil. What is read belongs to the process that connected: it
// lives under its pid after the last read as it did before the first.
func (p *peer) free(enrolled func(cgroup string) bool) error {
	if err := p.alive(); err != nil {
		return fmt.Errorf("%w: %w", errDoubt, err)
	}
	if err := freeFamily(p.pid, enrolled); err != nil {
		return err
	}
	if err := p.alive(); err != nil {
		return fmt.Errorf("%w: %w", errDoubt, err)
	}
	return nil
}

// freeFamily looks at a process and its ancestors, up to the first of all.
func freeFamily(pid int, enrolled func(string) bool) error {
	child := ^uint64(0)
	for range generations {
		cgroups, err := cgroupsOf(pid)
		if err != nil {
			return fmt.Errorf("%w: %w", errDoubt, err)
		}
		if slices.ContainsFunc(cgroups, enrolled) {
			return errEnrolled
		}
		stat, err := statOf(pid)
		if err != nil {
			return fmt.Errorf("%w: %w", errDoubt, err)
		}
		if stat.start > child { // a parent is not younger: its pid was used again under our eyes
			return fmt.Errorf("%w: its ancestors changed while they were read", errDoubt)
		}
		if stat.parent == 0 {
			return nil
		}
		pid, child = stat.parent, stat.start
	}
	return fmt.Errorf("%w: it has more than %d ancestors", errDoubt, generations)
}

// cgroupsOf returns the cgroup v2 paths of a process's living threads, as this process
// sees them. Each is looked at: the first may have exited, and is in no cgroup then.
func cgroupsOf(pid int) ([]string, error) {
	tasks := "/proc/" + strconv.Itoa(pid) + "/task"
	threads, err := os.ReadDir(tasks)
	if err != nil {
		return nil, errors.New("its threads cannot be listed")
	}
	var found []string
	for _, t := range threads {
		text, unread := os.ReadFile(filepath.Join(tasks, t.Name(), "cgroup"))
		if over(filepath.Join(tasks, t.Name())) { // asked afterwards: what was read was true of a living thread
			continue
		}
		if unread != nil {
			return nil, errors.New("its cgroup cannot be read")
		}
		path, err := parseCgroup(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(found, path) {
			found = append(found, path)
		}
	}
	if len(found) == 0 {
		return nil, errors.New("it has exited")
	}
	return found, nil
}

// over says that a thread has exited, or is about to: it may have left its cgroup.
func over(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
	}
	stat, err := parseStat(text)
	return err == nil && stat.exiting
}

// parseCgroup finds the line of the unified hierarchy, "0::/path", in /proc/PID/cgroup
// (cgroups(7)). A path out of our own cgroup namespace ("/../x"), or of a
// removed cgroup, cannot be compared with an enrolled one and is an error.
func parseCgroup(text []byte) (string, error) {
	path, found := "", false
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\n")), []byte("0::")); ok && !found {
			path, found = string(rest), true
		}
	}
	switch {
	case !found:
		return "", errors.New("it has no cgroup v2")
	case !strings.HasPrefix(path, "/"), strings.HasPrefix(path, "/.."), strings.HasSuffix(path, " (deleted)"):
		return "", errors.New("its cgroup cannot be placed")
	}
	return path, nil
}

// stat is what /proc/PID/stat tells of a process (proc_pid_stat(5)).
type stat struct {
	parent  int    // field 4; 0: the first process, or one from outside this pid namespace
	exiting bool   // of field 9
	start   uint64 // field 22, clock ticks since boot
}

// exiting is PF_EXITING of a thread's flags (include/linux/sched.h), which zombies have too.
const exiting = 0x4

func statOf(pid int) (stat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, errors.New("its process is gone")
	}
	return parseStat(text)
}

// parseStat reads past the command name, which the process chooses itself and
// which may hold blanks and parentheses.
func parseStat(text []byte) (stat, error) {
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return stat{}, errors.New("its stat cannot be read")
	}
	fields := bytes.Fields(text[end+1:])
	if len(fields) < 20 {
		return stat{}, errors.New("its stat is short")
	}
	parent, err1 := strconv.Atoi(string(fields[1]))
	flags, err2 := strconv.ParseUint(string(fields[6]), 10, 64)
	start, err3 := strconv.ParseUint(string(fields[19]), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || parent < 0 {
		return stat{}, errors.New("its stat cannot be read")
	}
	return stat{parent: parent, exiting: flags&exiting != 0, start: start}, nil
}
