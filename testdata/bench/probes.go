package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// idleCount is how many idle connections the memory of one is measured with.
const idleCount = 500

// connects times connect(2) of a process that is not enrolled, in microseconds.
func connects(l *lab) (float64, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		turnAway(listener)
	}()
	defer func() {
		listener.Close()
		<-done
	}()
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	out, err := self(l.routes[0], "connect", "-port", port, "-for", "1s")
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(out), 64)
}

// turnAway accepts and closes until the listener is closed.
func turnAway(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		conn.Close()
	}
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
