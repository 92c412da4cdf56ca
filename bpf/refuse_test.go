package bpf

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestOtherSocketsAreRefused(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		name    string
		args    []string
		counter string
	}{
		{"raw", []string{"2", "3", "1"}, "socket_raw"},
		{"raw ipv6", []string{"10", "3", "58"}, "socket_raw"},
		{"udp-lite", []string{"2", "2", "136"}, "socket_udplite"},
		{"udp-lite ipv6", []string{"10", "2", "136"}, "socket_udplite"},
		{"ping", []string{"2", "2", "1"}, "socket_ping"},
		{"mptcp", []string{"2", "1", "262"}, "socket_mptcp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := h.count(t, c.counter)
			got := run(t, h.cgroup, "socket", c.args...)
			if got != "EPERM" && got != "EPROTONOSUPPORT" && got != "EACCES" {
				t.Errorf("socket%v: %q", c.args, got)
			}
			if n := h.count(t, c.counter) - before; got == "EPERM" && n != 1 {
				t.Errorf("%s counted %d", c.counter, n)
			}
		})
	}
	if got := run(t, h.cgroup, "socket", "2", "5", "132"); got == "made" {
		t.Error("sctp: made")
	}
	for _, plain := range [][]string{{"2", "1", "0"}, {"10", "1", "6"}, {"2", "2", "17"}} {
		if got := run(t, h.cgroup, "socket", plain...); got != "made" {
			t.Errorf("socket%v: %q", plain, got)
		}
	}
}

func TestDatagramsAreDNSOrNothing(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct{ probe, to, want string }{
		{"sendto", "127.0.0.1:443", "EPERM"},
		{"sendto", "[::1]:443", "EPERM"},
		{"sendto", "[::ffff:127.0.0.1]:443", "EPERM"},
		{"connect-udp", "127.0.0.1:443", "EPERM"},
		{"connect-udp", "[::1]:443", "EPERM"},
		{"sendto", "127.0.0.1:53", "sent"},
		{"sendto", "[::ffff:127.0.0.1]:53", "sent"},
		{"connect-udp", "127.0.0.1:53", "connected"},
	} {
		t.Run(c.probe+" "+c.to, func(t *testing.T) {
			if got := run(t, h.cgroup, c.probe, c.to); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if denied, connects := h.count(t, "datagram_denied"), h.count(t, "connect_protocol"); denied != 3 || connects != 2 {
		t.Errorf("%d datagrams and %d connects were counted as denied, want 3 and 2", denied, connects)
	}
	if dns := h.count(t, "datagram_dns"); dns != 3 {
		t.Errorf("%d counted as DNS, want 3", dns)
	}
}

func TestOptionsThatSteerPacketsOrHoldThemUpAreRefused(t *testing.T) {
	h := newHouse(t)
	for name, args := range map[string][]string{
		"routing header": {"41", "57"}, "hop-by-hop": {"41", "54"}, "source route": {"0", "4"}, "packet": {"263", "20"}, "xdp": {"283", "1"},
		"old packet options": {"41", "6"}, "old routing header": {"41", "5"},
		"md5": {"6", "14"}, "md5 of a prefix": {"6", "32"}, "repair": {"6", "19"},
		"ao key": {"6", "38"}, "ao key away": {"6", "39"}, "ao": {"6", "40"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := run(t, h.cgroup, "option", args...); got != "EPERM" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestOtherOptionsAreSet(t *testing.T) {
	h := newHouse(t)
	for name, args := range map[string][]string{"no delay": {"6", "1"}, "keep alive": {"1", "9"}, "user timeout": {"6", "18"}} {
		t.Run(name, func(t *testing.T) {
			if got := run(t, h.cgroup, "option", args...); got != "set" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestAnUnservedNamespaceIsRefused(t *testing.T) {
	h := newHouse(t)
	if got := run(t, h.cgroup, "unserved", "203.0.113.9:443"); got != "EPERM" {
		t.Errorf("got %q", got)
	}
	if n := h.count(t, "connect_netns"); n != 1 {
		t.Errorf("counted %d", n)
	}
}

func TestADeadDaemonMeansRefused(t *testing.T) {
	h := newHouse(t)
	h.stop()
	if err := h.Close(); err != nil { // as a kill does: descriptors are closed, pins stay
		t.Fatal(err)
	}
	for _, to := range []string{"203.0.113.9:443", "[2001:db8::1]:443"} {
		if got := run(t, h.cgroup, "tcp", to); got != "ECONNREFUSED" {
			t.Errorf("%s: %q", to, got)
		}
	}
	if got := run(t, h.cgroup, "sendto", "203.0.113.9:443"); got != "EPERM" {
		t.Errorf("a datagram: %q", got)
	}
}

// Who holds the proxy's port has everybody's connections. The number alone is nobody's.
func TestTheProxysPortIsTakenByNobodyElse(t *testing.T) {
	h := newHouse(t)
	h.stop()
	other := makeCgroup(t, fmt.Sprintf("chaperone-test-squat-%d", h.port))
	const nobody = "65534"
	for _, c := range []struct {
		name, host, kind string
		more             []string
		want             string
	}{
		{"loopback", "127.0.0.1", "tcp", nil, "EPERM"},
		{"any", "0.0.0.0", "tcp", nil, "EPERM"},
		{"ipv6 loopback", "[::1]", "tcp", nil, "EPERM"},
		{"ipv6 any", "[::]", "tcp", nil, "EPERM"},
		{"mapped loopback", "[::ffff:127.0.0.1]", "tcp", nil, "EPERM"},
		{"mapped any", "[::ffff:0.0.0.0]", "tcp", nil, "EPERM"},
		{"mptcp", "127.0.0.1", "mptcp", nil, "EPERM"},
		{"datagrams", "127.0.0.1", "udp", nil, "bound"},
		{"another address", "203.0.113.7", "tcp", nil, "bound"},
		{"another ipv6 address", "[2001:db8::7]", "tcp", nil, "bound"},
		{"another network namespace", "0.0.0.0", "tcp", []string{"elsewhere"}, "bound"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{fmt.Sprintf("%s:%d", c.host, h.port), c.kind, nobody}, c.more...)
			if got := run(t, other, "bind", args...); got != c.want && got != "EPROTONOSUPPORT" { // a kernel without MPTCP
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	address := fmt.Sprintf("127.0.0.1:%d", h.port)
	if got := run(t, h.cgroup, "bind", address, "tcp"); got != "EPERM" {
		t.Errorf("by root inside: %q", got)
	}
	if got := run(t, other, "bind", address, "tcp"); got != "bound" {
		t.Errorf("by root outside: %q", got)
	}
}

func TestARestartTakesOverWithoutLosingAnyone(t *testing.T) {
	h := newHouse(t)
	h.stop()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := Open(h.options)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if ids, err := d.Enrolled(); err != nil || len(ids) != 1 || ids[0] != 7 {
		t.Fatalf("enrolled after a restart: %v %v", ids, err)
	}
	if err := d.Enroll(h.cgroup, 7); err != nil {
		t.Fatal(err)
	}
	h = &house{Door: d, cgroup: h.cgroup, port: h.port, l4: listenOn(t, h.l4.Addr().String()), l6: listenOn(t, h.l6.Addr().String())}
	h.open()
	defer h.stop()
	if got := run(t, h.cgroup, "tcp", "203.0.113.9:1"); got != "203.0.113.9:1 peer 203.0.113.9:1" {
		t.Errorf("got %q", got)
	}
	if n := h.count(t, "connect_redirected"); n != 1 {
		t.Errorf("counted %d: a program is attached twice or not at all", n)
	}
}

// An older version pinned no marks: its enrollments hold from Open on, for sockets that only the root's
// programs see. What is marked and not enrolled is forgotten.
func TestMarksAreMadeOfWhatIsEnrolled(t *testing.T) {
	h := newHouse(t)
	h.stop()
	pid, tell := start(t, "older", "tcp", "203.0.113.9:5432")
	move(t, pid, h.cgroup)
	cgroup, err := cgroupID(h.cgroup)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.mark(cgroup + 1); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []bool{false, true} {
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		if gone {
			if err := os.Remove(h.pin("maps", captureMapMarks)); err != nil {
				t.Fatal(err)
			}
		}
		if h.Door, err = Open(h.options); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[uint64]bool{cgroup: true, cgroup + 1: false} {
			if got := marked(t, h.Door, id); got != want {
				t.Errorf("with the older marks gone (%v), cgroup %d is marked: %v", gone, id, got)
			}
		}
	}
	defer h.Close()
	h = &house{Door: h.Door, cgroup: h.cgroup, port: h.port, l4: listenOn(t, h.l4.Addr().String()), l6: listenOn(t, h.l6.Addr().String())}
	h.open()
	defer h.stop()
	if got := tell(); got != "203.0.113.9:5432 peer 203.0.113.9:5432" {
		t.Errorf("a socket older than the enrollment: %q", got)
	}
}

func marked(t *testing.T, d *Door, cgroup uint64) bool {
	t.Helper()
	word, bit := placeOf(cgroup, d.maps[captureMapMarks].MaxEntries())
	var bits uint64
	if err := d.maps[captureMapMarks].Lookup(word, &bits); err != nil {
		t.Fatal(err)
	}
	return bits&bit != 0
}

// A mark is shared: a cgroup that has another's is looked up, and is not enrolled by it.
func TestAMarkAloneEnrollsNobody(t *testing.T) {
	h := newHouse(t)
	other := makeCgroup(t, fmt.Sprintf("chaperone-test-marked-%d", h.port))
	cgroup, err := cgroupID(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.mark(cgroup); err != nil {
		t.Fatal(err)
	}
	if got := run(t, other, "sendto", "127.0.0.1:9"); got != "sent" {
		t.Errorf("a datagram: %q", got)
	}
	if got := run(t, h.cgroup, "sendto", "127.0.0.1:9"); got != "EPERM" {
		t.Errorf("a datagram of an enrolled process: %q", got)
	}
}

// The registry is lost, and the cgroup is enrolled again.
func TestANewNumberTakesTheOldOnesPlace(t *testing.T) {
	h := newHouse(t)
	if err := h.Enroll(h.cgroup, 8); err != nil {
		t.Fatal(err)
	}
	if got := run(t, h.cgroup, "tcp", "203.0.113.9:1"); got != "203.0.113.9:1 peer 203.0.113.9:1" {
		t.Errorf("got %q", got)
	}
	if len(h.origins) != 1 || h.origins[0].Enrollment != 8 {
		t.Errorf("origins are %+v", h.origins)
	}
	if ids, err := h.Enrolled(); err != nil || !slices.Equal(ids, []uint32{8}) {
		t.Errorf("numbers: %v (%v)", ids, err)
	}
}

func TestTheRootAndWhatIsTooDeepAreNotEnrolled(t *testing.T) {
	h := newHouse(t)
	deep := h.cgroup
	for range maxDepth {
		deep = makeCgroup(t, strings.TrimPrefix(deep, cgroupRoot)+"/d")
	}
	for _, path := range []string{cgroupRoot, cgroupRoot + "/", deep} {
		if err := h.Enroll(path, 12); !errors.Is(err, ErrDepth) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if got := run(t, deep, "tcp", "203.0.113.9:1"); got != "203.0.113.9:1 peer 203.0.113.9:1" {
		t.Errorf("far below an enrolled cgroup: %q", got)
	}
}

func TestACgroupMadeAnewIsAttachedToAgain(t *testing.T) {
	h := newHouse(t)
	name := fmt.Sprintf("chaperone-test-anew-%d", h.port)
	first := makeCgroup(t, name)
	if err := h.Enroll(first, 11); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	again := makeCgroup(t, name)
	if err := h.Enroll(again, 11); err != nil {
		t.Fatal(err)
	}
	if got := run(t, again, "socket", "2", "3", "1"); got != "EPERM" {
		t.Errorf("a raw socket: %q", got)
	}
	if got := run(t, again, "tcp", "203.0.113.9:1"); got != "203.0.113.9:1 peer 203.0.113.9:1" {
		t.Errorf("got %q", got)
	}
}
