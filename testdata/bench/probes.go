package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chaperone-dev/chaperone/testdata/servers"
)

// idleCount is how many idle connections the memory of one is measured with.
const idleCount = 500

// A connectSlice is some 10 ms of connects; connectSlices of them are about a second.
const (
	connectSlice  = 200
	connectSlices = 100
)

// connects times connect(2) of a process that is not enrolled, in microseconds. It is this one for as long
// as it takes, in the cgroup of a client, which is as far below the root as the enrolled one. Other programs at
// the root, such as another Chaperone's, hide a part of what the first ones cost: there must be none.
func connects(l *lab) (float64, error) {
	d, err := newDialer(l.routes[0])
	if err != nil {
		return 0, err
	}
	defer d.close()
	took := make([]float64, connectSlices)
	for i := range took {
		if took[i], err = d.slice(); err != nil {
			return 0, err
		}
	}
	return least(took), nil
}

// A dialer connects to itself on one CPU, so that nobody has to be woken up on another one: that
// costs more, and less evenly, than what is measured.
type dialer struct {
	listener int
	to       syscall.Sockaddr
	came     string      // the cgroup it goes back to
	cpus     unix.CPUSet // likewise
}

// newDialer moves this process into a route's cgroup, and keeps its thread on one CPU, until close.
func newDialer(r route) (*dialer, error) {
	d := &dialer{}
	var err error
	if d.listener, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	err = unix.SchedGetaffinity(0, &d.cpus)
	if err == nil {
		err = syscall.Bind(d.listener, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = syscall.Listen(d.listener, 16)
	}
	if err == nil {
		d.to, err = syscall.Getsockname(d.listener)
	}
	if err == nil {
		err = d.settle(r.client)
	}
	if err != nil {
		d.close()
		return nil, fmt.Errorf("connect to ourselves: %w", err)
	}
	return d, nil
}

func (d *dialer) settle(group *servers.Cgroup) error {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	_, own, _ := strings.Cut("\n"+string(text), "\n0::")
	own, _, _ = strings.Cut(own, "\n")
	d.came = strings.TrimSuffix(group.Path, group.Name()) + own
	if err := enter(group.Path); err != nil {
		return err
	}
	var last unix.CPUSet
	for cpu := range len(d.cpus) * 64 {
		if d.cpus.IsSet(cpu) {
			last.Zero()
			last.Set(cpu)
		}
	}
	return unix.SchedSetaffinity(0, &last)
}

// enter moves this process into a cgroup directory.
func enter(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0)
}

// slice is the mean of the faster two fifths of a slice, in microseconds: those in which
// nobody else had a turn on the CPU.
func (d *dialer) slice() (float64, error) {
	var took [connectSlice]float64
	for i := range took {
		one, err := once(d.to)
		if err != nil {
			return 0, err
		}
		conn, _, err := syscall.Accept4(d.listener, syscall.SOCK_CLOEXEC)
		if err != nil {
			return 0, err
		}
		syscall.Close(conn)
		took[i] = float64(one.Nanoseconds()) / 1e3
	}
	slices.Sort(took[:])
	return mean(took[connectSlice/20 : connectSlice*2/5]), nil
}

func (d *dialer) close() {
	syscall.Close(d.listener)
	if d.came != "" {
		if err := enter(d.came); err != nil {
			log.Print(err)
		}
	}
	_ = unix.SchedSetaffinity(0, &d.cpus) // as it was: cannot be refused
	runtime.UnlockOSThread()
}

// idleMemory is what Chaperone's resident memory grows by per idle connection, in KiB.
func idleMemory(l *lab) (float64, error) {
	enrolled := l.routes[len(l.routes)-1]
	if _, err := self(enrolled, "drain", "-port", strconv.Itoa(enrolled.port), "select 1"); err != nil {
		return 0, err // a first connection pays for what all share
	}
	before, err := resident(l.chaperone.PID())
	if err != nil {
		return 0, err
	}
	during, err := l.holding(enrolled, idleCount)
	return (during - before) / idleCount, err
}

// holding opens n connections, reads Chaperone's resident memory and closes them.
func (l *lab) holding(r route, n int) (float64, error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := r.command(exe, "client", "idle", "-port", strconv.Itoa(r.port), "-n", strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	said, _ := bufio.NewReader(out).ReadString('\n') // anything but "open" is a failure
	time.Sleep(time.Second)
	kib, err := resident(l.chaperone.PID())
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if waited := cmd.Wait(); waited != nil || said != "open\n" {
		return 0, fmt.Errorf("%d idle connections: %w", n, waited)
	}
	return kib, err
}

// resident is VmRSS of a process, in KiB.
func resident(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.ParseFloat(strings.Fields(rest)[0], 64)
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}

// progress tells a person at a terminal how far it is; a pipe hears nothing.
func progress(format string, args ...any) {
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, "\r"+format+"\x1b[K", args...)
	}
}
