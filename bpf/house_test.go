package bpf

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/chaperone-dev/chaperone/pkg/cgroup2"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/leaks"
)

// cgroupRoot is where cgroup v2 is mounted.
var cgroupRoot = func() string {
	root, err := cgroup2.Root()
	if err != nil {
		return err.Error() // no path: the tests that need one say so
	}
	return root
}()

// probeVariable names the probe that the test binary is to be, instead of the tests.
const probeVariable = "CHAPERONE_TEST_PROBE"

func TestMain(m *testing.M) {
	if name := os.Getenv(probeVariable); name != "" {
		os.Exit(runProbe(name, os.Args[1:]))
	}
	os.Exit(leaks.Run(m))
}

// listen opens the proxy's listener on loopback, at a port of its own.
func listen(t testing.TB) (*net.TCPListener, uint16) {
	t.Helper()
	l := listenOn(t, "127.0.0.1:0")
	return l, uint16(l.Addr().(*net.TCPAddr).Port)
}

func listenOn(t testing.TB, address string) *net.TCPListener {
	t.Helper()
	c := net.ListenConfig{KeepAlive: -1}
	c.SetMultipathTCP(false)
	l, err := c.Listen(context.Background(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// enrolled opens a door and enrolls a cgroup of the test's own.
func enrolled(t testing.TB, port uint16) (*Door, string) {
	t.Helper()
	pins := filepath.Join("/sys/fs/bpf", fmt.Sprintf("chaperone-test-%d-%d", os.Getpid(), port))
	t.Cleanup(func() {
		if err := Remove(pins); err != nil {
			t.Error(err)
		}
	})
	d, err := Open(Options{PinDir: pins, CgroupRoot: cgroupRoot, Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	cgroup := makeCgroup(t, filepath.Base(pins))
	if err := d.Enroll(cgroup, 7); err != nil {
		t.Fatal(err)
	}
	return d, cgroup
}

func makeCgroup(t testing.TB, name string) string {
	t.Helper()
	cgroup := filepath.Join(cgroupRoot, name)
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(cgroup); err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	})
	return cgroup
}

// inside makes cmd start in a cgroup.
func inside(t *testing.T, cgroup string, cmd *exec.Cmd) {
	t.Helper()
	dir, err := os.Open(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
}

// house is a door with a proxy behind it that tells each client where it wanted to go.
type house struct {
	*Door
	cgroup string
	port   uint16
	l4, l6 *net.TCPListener

	mu      sync.Mutex
	origins []flow.Origin
	misses  int
	serving sync.WaitGroup
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{}
	h.l4, h.port = listen(t)
	h.l6 = listenOn(t, fmt.Sprintf("[::1]:%d", h.port))
	h.Door, h.cgroup = enrolled(t, h.port)
	h.open()
	t.Cleanup(h.stop)
	return h
}

func (h *house) open() {
	for _, l := range []*net.TCPListener{h.l4, h.l6} {
		h.serving.Go(func() { h.serve(l) })
	}
}

func (h *house) stop() {
	h.l4.Close()
	h.l6.Close()
	h.serving.Wait()
}

// serve answers each connection with its destination; without one, with a reset.
func (h *house) serve(l *net.TCPListener) {
	for {
		conn, err := l.AcceptTCP()
		if err != nil {
			return
		}
		o, err := h.Origin(conn)
		h.mu.Lock()
		if err != nil {
			h.misses++
			_ = conn.SetLinger(0)
			conn.Close()
		} else {
			h.origins = append(h.origins, o)
			fmt.Fprintln(conn, o.Destination)
		}
		h.mu.Unlock()
		h.serving.Go(func() { // a close with unread bytes would be a reset
			_ = conn.CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
		})
	}
}

// count is one of enrollment 7's counters.
func (h *house) count(t *testing.T, what string) uint64 {
	t.Helper()
	counts, err := h.Counts()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		if c.Enrollment == 7 && c.What == what {
			return c.N
		}
	}
	t.Fatalf("no counter %q", what)
	return 0
}

// handovers counts what is on its way.
func (h *house) handovers(t *testing.T) int {
	t.Helper()
	var key captureCaller
	var value captureOrigin
	n := 0
	entries := h.maps[captureMapHandovers].Iterate()
	for entries.Next(&key, &value) {
		n++
	}
	if err := entries.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

func probe(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), probeVariable+"="+name)
	return cmd
}

// run runs a probe in a cgroup and returns what it said.
func run(t *testing.T, cgroup, name string, args ...string) string {
	t.Helper()
	cmd := probe(name, args...)
	inside(t, cgroup, cmd)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// start starts a probe where the tests are, and waits until it is ready. It
// goes on when it is told to, and says what became of it.
func start(t *testing.T, name string, args ...string) (pid int, tell func() string) {
	t.Helper()
	cmd := probe(name, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		t.Fatalf("%s: %q %v", name, line, err)
	}
	return cmd.Process.Pid, func() string {
		in.Close()
		rest, _ := io.ReadAll(lines)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return strings.TrimSpace(string(rest))
	}
}

func move(t *testing.T, pid int, cgroup string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), fmt.Append(nil, pid), 0); err != nil {
		t.Fatal(err)
	}
}
