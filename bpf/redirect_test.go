package bpf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
)

func TestConnectsAreTurnedAndThePeerIsTheRealServer(t *testing.T) {
	h := newHouse(t)
	const v4, v6 = "203.0.113.9:5432", "[2001:db8::9]:5432"
	for _, c := range []struct {
		name, probe string
		args        []string
		want        string
	}{
		{"ipv4", "tcp", []string{v4}, v4 + " peer " + v4},
		{"ipv6", "tcp", []string{v6}, v6 + " peer " + v6},
		{"v4-mapped", "mapped", []string{v4}, v4 + " peer [::ffff:203.0.113.9]:5432"},
		{"non-blocking", "nonblock", []string{v4}, v4 + " peer " + v4},
		{"non-blocking ipv6", "nonblock", []string{v6}, v6 + " peer " + v6},
		{"fast open", "fastopen", []string{v4}, v4 + " peer " + v4},
		{"fast open ipv6", "fastopen", []string{v6}, v6 + " peer " + v6},
		{"io_uring", "uring", []string{v4}, v4 + " peer " + v4},
		{"reconnected", "again", []string{v4, "203.0.113.10:80"}, "203.0.113.10:80 peer 203.0.113.10:80"},
		{"tied to a device", "device", []string{v4, "eth0"}, v4 + " peer " + v4},
		{"this host", "tcp", []string{"0.0.0.0:5432"}, "127.0.0.1:5432 peer 127.0.0.1:5432"},
		{"this host by ipv6", "tcp", []string{"[::]:5432"}, "[::1]:5432 peer [::1]:5432"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := run(t, h.cgroup, c.probe, c.args...); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if h.misses != 0 {
		t.Errorf("%d connections had no origin", h.misses)
	}
	if turned, handed := h.count(t, "connect_redirected"), h.count(t, "handed_over"); turned != handed || turned != 13 {
		t.Errorf("%d connects turned, %d handed over, want 13 each", turned, handed)
	}
	if n := h.handovers(t); n != 0 {
		t.Errorf("%d origins were left on the way", n)
	}
}

func TestTheProxyItselfCannotBeDialled(t *testing.T) {
	h := newHouse(t)
	for _, host := range []string{"127.0.0.1", "127.1.2.3", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:0.0.0.0]"} {
		t.Run(host, func(t *testing.T) {
			if got := run(t, h.cgroup, "tcp", fmt.Sprintf("%s:%d", host, h.port)); got != "EPERM" {
				t.Errorf("got %q", got)
			}
		})
	}
	if len(h.origins) != 0 || h.misses != 0 {
		t.Errorf("the proxy accepted %d and %d", len(h.origins), h.misses)
	}
}

func TestOthersAreUntouched(t *testing.T) {
	h := newHouse(t)
	server := listenOn(t, "127.0.0.1:0")
	h.serving.Go(func() {
		conn, err := server.Accept()
		if err == nil {
			fmt.Fprintln(conn, "the server itself")
			conn.Close()
		}
	})
	other := makeCgroup(t, fmt.Sprintf("chaperone-test-other-%d", h.port))
	address := server.Addr().String()
	if got := run(t, other, "tcp", address); got != "the server itself peer "+address {
		t.Errorf("got %q", got)
	}
	for _, c := range [][]string{{"socket", "2", "3", "1"}, {"socket", "2", "2", "136"}} {
		if got := run(t, other, c[0], c[1:]...); got != "made" {
			t.Errorf("%v: %q", c, got)
		}
	}
	if got := run(t, other, "sendto", "127.0.0.1:9"); got != "sent" {
		t.Errorf("a datagram: %q", got)
	}
	if len(h.origins) != 0 {
		t.Errorf("the proxy was handed %v", h.origins)
	}
}

func TestSubcgroupsAreEnrolledToo(t *testing.T) {
	h := newHouse(t)
	below := makeCgroup(t, strings.TrimPrefix(h.cgroup, cgroupRoot)+"/below")
	if got := run(t, below, "tcp", "203.0.113.9:22"); got != "203.0.113.9:22 peer 203.0.113.9:22" {
		t.Errorf("got %q", got)
	}
}

func TestSocketsOlderThanTheEnrollmentAreTurned(t *testing.T) {
	h := newHouse(t)
	pid, tell := start(t, "older", "tcp", "203.0.113.9:5432")
	move(t, pid, h.cgroup)
	if got := tell(); got != "203.0.113.9:5432 peer 203.0.113.9:5432" {
		t.Errorf("tcp: %q", got)
	}
	pid, tell = start(t, "older", "udp", "203.0.113.9:443")
	move(t, pid, h.cgroup)
	if got := tell(); got != "EPERM" {
		t.Errorf("udp: %q", got)
	}
	pid, tell = start(t, "older-twice", "203.0.113.9:5432", fmt.Sprintf("127.0.0.1:%d", h.port))
	move(t, pid, h.cgroup)
	if got := tell(); got != "EPERM" {
		t.Errorf("dialling the proxy with an old origin: %q", got)
	}
}

// A cgroup that had processes and sockets before it was enrolled.
func TestSocketsOfTheCgroupItselfAreTurned(t *testing.T) {
	h := newHouse(t)
	cgroup := makeCgroup(t, fmt.Sprintf("chaperone-test-late-%d", h.port))
	cmd, tell := start(t, "older", "tcp", "203.0.113.9:5432")
	move(t, cmd, cgroup)
	if err := h.Enroll(cgroup, 8); err != nil {
		t.Fatal(err)
	}
	if got := tell(); got != "203.0.113.9:5432 peer 203.0.113.9:5432" {
		t.Errorf("got %q", got)
	}
	if len(h.origins) != 1 || h.origins[0].Enrollment != 8 {
		t.Errorf("origins are %+v", h.origins)
	}
}

func TestAnOriginIsOfItsEnrollment(t *testing.T) {
	h := newHouse(t)
	other := makeCgroup(t, fmt.Sprintf("chaperone-test-second-%d", h.port))
	if err := h.Enroll(other, 9); err != nil {
		t.Fatal(err)
	}
	run(t, h.cgroup, "tcp", "203.0.113.1:1")
	run(t, other, "tcp", "203.0.113.2:2")
	want := []uint32{7, 9}
	for i, o := range h.origins {
		if o.Enrollment != want[i] || o.Destination != netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i + 1)}), uint16(i+1)) {
			t.Errorf("origin %d is %+v", i, o)
		}
	}
	if err := h.Unenroll(other, 9); err != nil {
		t.Fatal(err)
	}
	if left, _ := h.Enrolled(); len(left) != 1 || left[0] != 7 {
		t.Errorf("left: %v", left)
	}
}

func TestChurnWithFewPortsIsNeverMissingOrWrong(t *testing.T) {
	h := newHouse(t)
	done := make(chan string, 4)
	for i := range 4 {
		go func() { done <- run(t, h.cgroup, "churn", "2500", fmt.Sprint(20000+100*i)) }()
	}
	for range 4 {
		if got := <-done; got != "missing 0 wrong 0" {
			t.Error(got)
		}
	}
	if n := h.handovers(t); n != 0 {
		t.Errorf("%d origins were left on the way", n)
	}
}

func TestAResetIsAllAStrangerGets(t *testing.T) {
	h := newHouse(t)
	conn, err := net.Dial("tcp", h.l4.Addr().String())
	if errors.Is(err, syscall.ECONNRESET) {
		return // it came while Dial was looking at the result
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a stranger read %d bytes and %v", n, err)
	}
}
