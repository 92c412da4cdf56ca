// Package identity finds the process behind a connection: executable and its
// digest, arguments without their secrets, ancestors, cgroup and unit.
//
// # Why
//
// The identity itself rests on the attach point alone (package bpf): everything
// here can be chosen by a hostile process, down to its own arguments. It is read
// for people who decide and audit. /proc was preferred to a trace of every exec:
// it needs no program of its own, and a process that is gone is said to be partial.
package identity

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Bounds of what is read of a process.
const (
	maxArgv      = 4 << 10 // bytes
	maxAncestors = 8
	keepFor      = 10 * time.Second
	keepAtMost   = 1024 // processes
)

// Reader reads processes. It is safe for concurrent use.
type Reader struct {
	digests digests
	now     func() time.Time

	mu     sync.Mutex // guards recent
	recent map[key]seen
}

// key names a process for good: pids are used again, with another start.
type key struct {
	pid   int
	start uint64
}

// seen is a process as it was read, good as long as it runs the same program
// with the same arguments: exec changes them and keeps pid and start.
type seen struct {
	process flow.Process
	program program
	until   time.Time
}

// program is what exec changes.
type program struct {
	exe  fileKey
	argv string
}

func programOf(dir string) (program, bool) {
	exe, err := keyOf(filepath.Join(dir, "exe"))
	if err != nil {
		return program{}, false
	}
	argv, err := readSome(filepath.Join(dir, "cmdline"), maxArgv)
	return program{exe, string(argv)}, err == nil
}

// New returns a reader.
func New() *Reader { return &Reader{now: time.Now, recent: map[key]seen{}} }

// Read finds the process that opened a connection. What cannot be read any more
// is left out and Partial set; a pid that was given to a younger process is not mistaken for it.
func (r *Reader) Read(o flow.Origin) flow.Process {
	p := flow.Process{PID: int(o.TGID), UID: o.UID, Partial: true}
	start, err := startOf(p.PID)
	if err != nil || younger(start, o.Time) {
		return p
	}
	p.Start = start
	k, dir := key{p.PID, start}, living(o)
	now, ok := programOf(dir)
	if known, recent := r.recall(k, now); ok && recent {
		known.UID = o.UID
		return known
	}
	p.Partial = false
	r.fill(&p, o.Enrollment, dir)
	if again, err := startOf(p.PID); err != nil || again != start {
		return flow.Process{PID: p.PID, UID: o.UID, Partial: true} // what was read may be another's
	}
	if after, still := programOf(dir); !ok || !still || after != now {
		p.Partial = true // it was read across an exec
		return p
	}
	if !p.Partial {
		r.remember(k, now, p)
	}
	return p
}

// fill reads what dir, a process's or a thread's in /proc, says of it.
func (r *Reader) fill(p *flow.Process, enrollment uint32, dir string) {
	var err error
	if p.Exe, err = os.Readlink(filepath.Join(dir, "exe")); err != nil {
		p.Partial = true
	}
	if p.ExeSHA256, err = r.digests.of(filepath.Join(dir, "exe"), enrollment, r.now()); err != nil {
		p.Partial = true
	}
	if argv, err := readSome(filepath.Join(dir, "cmdline"), maxArgv); err == nil {
		p.Argv = Redact(strings.Split(strings.TrimSuffix(string(argv), "\x00"), "\x00"), pathsOf(p.PID))
	}
	if text, err := readSome(filepath.Join(dir, "cgroup"), maxArgv); err == nil {
		p.Cgroup = cgroupOf(string(text))
		p.Unit = unitOf(p.Cgroup)
	}
	p.Ancestors = ancestors(p.PID)
}

func (r *Reader) recall(k key, now program) (flow.Process, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.recent[k]
	if !ok || s.program != now || r.now().After(s.until) {
		return flow.Process{}, false
	}
	return s.process, true
}

func (r *Reader) remember(k key, now program, p flow.Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.recent) >= keepAtMost {
		clear(r.recent)
	}
	r.recent[k] = seen{p, now, r.now().Add(keepFor)}
}

func proc(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid)) }

// living is where a connection's process can be read: in its own directory, or, when its first thread has
// ended and left nothing there while others go on, in that of the thread that connected, or of another.
func living(o flow.Origin) string {
	dir := proc(int(o.TGID))
	if !ended(dir) {
		return dir
	}
	tasks := filepath.Join(dir, "task")
	if own := filepath.Join(tasks, strconv.Itoa(int(o.TID))); !ended(own) {
		return own
	}
	others, err := os.ReadDir(tasks)
	if err != nil {
		return dir
	}
	for _, t := range others {
		if other := filepath.Join(tasks, t.Name()); !ended(other) {
			return other
		}
	}
	return dir
}

// ended says that a thread, by its directory in /proc, runs no more: it has no program.
func ended(dir string) bool {
	_, err := os.Readlink(filepath.Join(dir, "exe"))
	return err != nil
}

var errStat = errors.New("malformed stat")

// statOf reads parent and start of a process: fields 4 and 22 of /proc/PID/stat.
// The second field is a name in parentheses, which may hold anything.
func statOf(pid int) (parent int, start uint64, err error) {
	text, err := readSome(filepath.Join(proc(pid), "stat"), maxArgv)
	if err != nil {
		return 0, 0, err
	}
	i := bytes.LastIndexByte(text, ')')
	if i < 0 {
		return 0, 0, errStat
	}
	fields := strings.Fields(string(text[i+1:]))
	if len(fields) < 20 {
		return 0, 0, errStat
	}
	parent, err = strconv.Atoi(fields[1])
	if err != nil {
		return 0, 0, errStat
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, 0, errStat
	}
	return parent, start, nil
}

func startOf(pid int) (uint64, error) {
	_, start, err := statOf(pid)
	return start, err
}

// ticksPerSecond is USER_HZ, which is 100 on every architecture Go runs Linux on.
const ticksPerSecond = 100

// younger says that a process started after the moment since boot when a
// connection was made: the connection is not its own. A tick of doubt is allowed, and
// suspended time, which start counts and at does not, only makes a process look younger:
// then it is partial, never wrong.
func younger(start uint64, at time.Duration) bool {
	return start > uint64(at/(time.Second/ticksPerSecond))+1
}

// ancestors walks up the process tree.
func ancestors(pid int) []flow.Ancestor {
	var list []flow.Ancestor
	for len(list) < maxAncestors {
		parent, _, err := statOf(pid)
		if err != nil || parent <= 0 {
			return list
		}
		start, err := startOf(parent)
		if err != nil {
			return list
		}
		exe, _ := os.Readlink(filepath.Join(proc(parent), "exe")) // kernel threads and strangers have none
		list = append(list, flow.Ancestor{PID: parent, Start: start, Exe: exe})
		pid = parent
	}
	return list
}

// cgroupOf finds the cgroup v2 path in /proc/PID/cgroup.
func cgroupOf(text string) string {
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n")
		}
	}
	return ""
}

// unitOf is the system's unit a cgroup belongs to: the outermost, for what is below
// may be delegated to its user, who can give a directory any name.
func unitOf(cgroup string) string {
	for step := range strings.SplitSeq(strings.Trim(cgroup, "/"), "/") {
		if strings.HasSuffix(step, ".service") || strings.HasSuffix(step, ".scope") {
			return step
		}
		if !strings.HasSuffix(step, ".slice") {
			return ""
		}
	}
	return ""
}

// readSome reads at most limit bytes of a file.
func readSome(path string, limit int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, limit)
	n, err := f.Read(b)
	if n > 0 {
		return b[:n], nil
	}
	return nil, fmt.Errorf("read %s: %w", filepath.Base(path), err)
}
