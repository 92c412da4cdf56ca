package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

func TestOriginReachesTheAcceptedSocket(t *testing.T) {
	l, port := listen(t)
	d, cgroup := enrolled(t, port)
	cmd := exec.Command("bash", "-c", `exec 3<>/dev/tcp/203.0.113.9/5432; echo hi >&3; read -u 3 x; echo got $x`)
	inside(t, cgroup, cmd)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	o, err := d.Origin(conn.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	if want := netip.MustParseAddrPort("203.0.113.9:5432"); o.Destination != want || o.Enrollment != 7 || int(o.TGID) != cmd.Process.Pid || o.TID != o.TGID {
		t.Errorf("origin is %+v", o)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Error(err)
	}
	fmt.Fprintln(conn, "there")
	conn.Close()
	if err := cmd.Wait(); err != nil || out.String() != "got there\n" {
		t.Errorf("the client ended with %v and said %q", err, out.String())
	}
}

func TestTheThreadThatConnectedIsKnown(t *testing.T) {
	h := newHouse(t)
	tid := run(t, h.cgroup, "thread", "203.0.113.9:1")
	if len(h.origins) != 1 || fmt.Sprint(h.origins[0].TID) != tid || h.origins[0].TID == h.origins[0].TGID {
		t.Errorf("thread %s, origins %+v", tid, h.origins)
	}
}

// pinOther puts a map as another version has it in a pinned one's place.
func pinOther(t *testing.T, h *house, name string) {
	t.Helper()
	spec, err := loadCapture()
	if err != nil {
		t.Fatal(err)
	}
	other := spec.Maps[name]
	other.ValueSize += 4
	other.Key, other.Value = nil, nil
	m, err := ebpf.NewMap(other)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := os.Remove(h.pin("maps", name)); err != nil {
		t.Fatal(err)
	}
	if err := m.Pin(h.pin("maps", name)); err != nil {
		t.Fatal(err)
	}
}

func TestAnotherVersionsConnectionsAreForgottenItsEnrollmentsAreNot(t *testing.T) {
	h := newHouse(t)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	pinOther(t, h, captureMapHandovers)
	d, err := Open(h.options)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Enroll(h.cgroup, 7); err != nil {
		t.Fatal(err)
	}
	if got := run(t, h.cgroup, "socket", "2", "3", "1"); got != "EPERM" {
		t.Errorf("a raw socket: %q", got)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	pinOther(t, h, captureMapEnrolled)
	if _, err := Open(h.options); !errors.Is(err, ErrVersion) {
		t.Errorf("enrollments of another version: %v", err)
	}
}

func TestStrangersHaveNoOrigin(t *testing.T) {
	l, port := listen(t)
	d, _ := enrolled(t, port)
	own, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := d.Origin(conn.(*net.TCPConn)); !errors.Is(err, ErrNoOrigin) {
		t.Errorf("a stranger's connection: %v", err)
	}
}

func TestWhatTheKernelHasIsKnownWithoutARegistry(t *testing.T) {
	h := newHouse(t)
	below := makeCgroup(t, strings.TrimPrefix(h.cgroup, cgroupRoot)+"/below")
	other := makeCgroup(t, fmt.Sprintf("chaperone-test-free-%d", h.port))
	for path, want := range map[string]bool{h.cgroup: true, below: true, other: false, cgroupRoot: false, cgroupRoot + "/": false} {
		if got, err := h.Covers(path); got != want || err != nil {
			t.Errorf("covers %s: %v (%v)", path, got, err)
		}
	}
	if got, err := h.Covers(other + "/none"); err == nil {
		t.Errorf("covers what is not there: %v", got)
	}
	if err := h.maps[captureMapEnrolled].Put(uint64(1), uint32(9)); err != nil { // as a daemon that died in the middle leaves it
		t.Fatal(err)
	}
	if ids, err := h.Enrolled(); err != nil || !slices.Equal(ids, []uint32{7, 9}) {
		t.Errorf("numbers: %v (%v)", ids, err)
	}
}
