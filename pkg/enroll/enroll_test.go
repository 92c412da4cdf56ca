package enroll

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/chaperone-dev/chaperone/pkg/cgroup2"
	"github.com/chaperone-dev/chaperone/pkg/leaks"
)

const holdVariable = "CHAPERONE_TEST_HOLD"

func TestMain(m *testing.M) {
	if addresses := os.Getenv(holdVariable); addresses != "" {
		os.Exit(hold(strings.Fields(addresses)))
	}
	if flag := os.Getenv(hideVariable); flag != "" {
		os.Exit(hide(flag))
	}
	os.Exit(leaks.Run(m))
}

// hold is a process that holds sockets of all kinds, and says when asked which still work.
func hold(addresses []string) int {
	tcp, err := net.Dial("tcp", addresses[0])
	if err != nil {
		return fail(err)
	}
	udp, err := net.Dial("udp", addresses[1])
	if err != nil {
		return fail(err)
	}
	var plain net.ListenConfig
	plain.SetMultipathTCP(false)
	l, err := plain.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return fail(err)
	}
	raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_UDP)
	if err != nil {
		return fail(err)
	}
	if err := unix.Connect(raw, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fail(err)
	}
	if len(addresses) > 2 {
		if _, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); err != nil {
			return fail(err)
		}
	}
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	works := func(name string, err error) {
		if err == nil {
			fmt.Println(name)
		}
	}
	_, err = tcp.Write([]byte("x"))
	works("tcp", err)
	_, err = udp.Write([]byte("x"))
	works("udp", err)
	_, err = unix.Write(raw, make([]byte, 8))
	works("raw", err)
	_, err = net.Dial("tcp4", l.Addr().String())
	works("listener", err)
	return 0
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// kernel is a Kernel that remembers.
type kernel struct {
	dirs map[uint32]string
	err  error
}

func (k *kernel) Enroll(dir string, id uint32) error {
	if k.err != nil {
		return k.err
	}
	k.dirs[id] = dir
	return nil
}

func (k *kernel) Unenroll(_ string, id uint32) error {
	delete(k.dirs, id)
	return nil
}

func (k *kernel) Enrolled() ([]uint32, error) { return slices.Collect(maps.Keys(k.dirs)), k.err }

// place is a cgroup of the test's own, with a registry.
type place struct {
	root, name, state string
	kernel            *kernel
	*Registry
}

func newPlace(t *testing.T) *place {
	t.Helper()
	root, err := cgroup2.Root()
	if err != nil {
		t.Fatal(err)
	}
	p := &place{root: root, name: fmt.Sprintf("/chaperone-enroll-test-%d", os.Getpid()), state: t.TempDir(), kernel: &kernel{dirs: map[uint32]string{}}}
	p.make(t, "")
	t.Cleanup(func() {
		if err := removeTree(filepath.Join(root, p.name)); err != nil {
			t.Error(err)
		}
	})
	p.Registry = p.open(t)
	return p
}

func (p *place) open(t *testing.T) *Registry {
	t.Helper()
	r, err := Open(p.root, p.state, p.kernel)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// make makes a cgroup below the test's own and returns its path below the root.
func (p *place) make(t *testing.T, below string) string {
	t.Helper()
	cgroup := p.name + below
	if err := os.MkdirAll(filepath.Join(p.root, cgroup), 0o755); err != nil {
		t.Fatal(err)
	}
	return cgroup
}

func TestAnEnrollmentKeepsItsNumberAcrossRestarts(t *testing.T) {
	p := newPlace(t)
	a, err := p.Add("bot", p.make(t, "/a"), "test")
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Add("other", p.make(t, "/b"), "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Remove(b.Cgroup); err != nil {
		t.Fatal(err)
	}
	p.kernel.dirs = map[uint32]string{}
	r := p.open(t)
	if got := p.kernel.dirs; len(got) != 1 || got[a.ID] != filepath.Join(p.root, a.Cgroup) {
		t.Errorf("enrolled again: %v", got)
	}
	c, err := r.Add("third", b.Cgroup, "test")
	if err != nil || c.ID == a.ID || c.ID == b.ID {
		t.Errorf("the number %d was given again (%v)", c.ID, err)
	}
	if name, ok := r.Identity(a.ID); !ok || name != "bot" {
		t.Errorf("identity of %d: %q %v", a.ID, name, ok)
	}
	if _, ok := r.Identity(b.ID); ok {
		t.Error("an ended enrollment has an identity")
	}
}

func TestAStrangersNumberIsNotGivenAgain(t *testing.T) {
	p := newPlace(t)
	for _, name := range []string{"/a", "/b"} {
		if _, err := p.Add("bot", p.make(t, name), "test"); err != nil {
			t.Fatal(err)
		}
	}
	p.state = t.TempDir() // it was lost
	e, err := p.open(t).Add("other", p.make(t, "/c"), "test")
	if err != nil || e.ID != 3 || len(p.kernel.dirs) != 3 {
		t.Errorf("enrolled as %d (%v): %v", e.ID, err, p.kernel.dirs)
	}
	p.kernel.err = errors.New("no")
	if _, err := Open(p.root, t.TempDir(), p.kernel); !errors.Is(err, p.kernel.err) {
		t.Errorf("opened without knowing which numbers are taken: %v", err)
	}
}

func TestACgroupThatWasMadeAnewIsNotTheOldOne(t *testing.T) {
	p := newPlace(t)
	a, err := p.Add("bot", p.make(t, "/a"), "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(p.root, a.Cgroup)); err != nil {
		t.Fatal(err)
	}
	p.make(t, "/a")
	gone, err := p.Sweep()
	if err != nil || len(gone) != 1 || gone[0].ID != a.ID {
		t.Errorf("swept %v (%v)", gone, err)
	}
	if len(p.kernel.dirs) != 0 {
		t.Errorf("the kernel still has %v", p.kernel.dirs)
	}
}

func TestWhatMustNotBeEnrolledIsRefused(t *testing.T) {
	p := newPlace(t)
	a := p.make(t, "/a")
	if _, err := p.Add("bot", a, "test"); err != nil {
		t.Fatal(err)
	}
	own, err := OwnCgroup()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, cgroup string
		want         error
	}{
		{"the root", "/", ErrSelf},
		{"the root, said otherwise", "/x/..", ErrSelf},
		{"our own", own, ErrSelf},
		{"none", p.name + "/none", ErrNoCgroup},
		{"a file", a + "/cgroup.procs", ErrNoCgroup},
		{"out of the mount", "/../../../etc", ErrNoCgroup},
		{"nested inside", p.make(t, "/a/inner"), ErrOverlap},
		{"nested outside", p.name, ErrOverlap},
		{"for another identity", a, ErrOverlap},
	} {
		t.Run(c.name, func(t *testing.T) {
			identity := map[bool]string{true: "another", false: "bot"}[c.cgroup == a]
			if _, err := p.Add(identity, c.cgroup, "test"); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if len(p.kernel.dirs) != 1 {
		t.Errorf("the kernel has %v", p.kernel.dirs)
	}
}

func TestAKernelThatRefusesLeavesNothingEnrolled(t *testing.T) {
	p := newPlace(t)
	p.kernel.err = errors.New("no")
	if _, err := p.Add("bot", p.make(t, "/a"), "test"); !errors.Is(err, p.kernel.err) {
		t.Errorf("got %v", err)
	}
	if len(p.List()) != 0 || p.Covers(p.name+"/a") {
		t.Errorf("enrolled: %v", p.List())
	}
}

func TestCoversWhatIsBelow(t *testing.T) {
	p := newPlace(t)
	a := p.make(t, "/a")
	if _, err := p.Add("bot", a, "test"); err != nil {
		t.Fatal(err)
	}
	for cgroup, want := range map[string]bool{a: true, a + "/x/y": true, a + "b": false, p.name: false, "/": false} {
		if p.Covers(cgroup) != want {
			t.Errorf("covers %s: %v", cgroup, !want)
		}
	}
}

func TestFindTellsTheOutermost(t *testing.T) {
	p := newPlace(t)
	p.make(t, "/x/inner/x")
	p.make(t, "/deep/x")
	found, err := Find(p.root, func(cgroup string) bool { return filepath.Base(cgroup) == "x" && strings.HasPrefix(cgroup, p.name) })
	slices.Sort(found)
	if want := []string{p.name + "/deep/x", p.name + "/x"}; err != nil || !slices.Equal(found, want) {
		t.Errorf("found %v (%v), want %v", found, err, want)
	}
}

// Who may make directories below his own unit must not be taken for another.
func TestAUnitStandsBelowSlicesOnly(t *testing.T) {
	for cgroup, want := range map[string]string{
		"/billing.service":                                     "billing.service",
		"/system.slice/billing.service":                        "billing.service",
		"/system.slice/system-billing.slice/billing@1.service": "billing@1.service",
		"/ci.slice": "ci.slice",
		"/user.slice/user-7.slice/session-1.scope":                 "session-1.scope",
		"/user.slice/user-7.slice/user@7.service/billing.service":  "",
		"/system.slice/other.service/billing.service":              "",
		"/system.slice/other.service/system.slice/billing.service": "",
		"/machine/billing.service":                                 "",
		"/system.slice/billing":                                    "",
		"/":                                                        "",
	} {
		if got := UnitOf(cgroup); got != want {
			t.Errorf("%s: %q, want %q", cgroup, got, want)
		}
	}
}

func TestOlderSocketsAreEnded(t *testing.T) {
	p := newPlace(t)
	inner := p.make(t, "/a/inner")
	cmd, tell := holder(t, filepath.Join(p.root, inner), false)
	uncovered, err := Sever(p.root, p.name+"/a")
	if err != nil {
		t.Fatal(err)
	}
	// A kernel without CONFIG_INET_RAW_DIAG cannot end raw sockets: it must be said.
	if still := strings.Fields(tell()); len(still) != uncovered || slices.ContainsFunc(still, func(s string) bool { return s != "raw" }) {
		t.Errorf("process %d still has %v, and %d were said to be uncovered", cmd.Process.Pid, still, uncovered)
	}
}

func TestPacketSocketsAreSaidToBeUncovered(t *testing.T) {
	p := newPlace(t)
	_, tell := holder(t, filepath.Join(p.root, p.make(t, "/a")), true)
	uncovered, err := Sever(p.root, p.name+"/a")
	if still := strings.Fields(tell()); err != nil || uncovered != len(still)+1 {
		t.Errorf("uncovered %d (%v), want the packet socket and %v", uncovered, err, still)
	}
}

func TestOthersKeepTheirSockets(t *testing.T) {
	p := newPlace(t)
	_, tell := holder(t, filepath.Join(p.root, p.make(t, "/a")), false)
	if _, err := Sever(p.root, p.make(t, "/b")); err != nil {
		t.Fatal(err)
	}
	if still := strings.Fields(tell()); len(still) != 4 {
		t.Errorf("only %v still work", still)
	}
}

// A child of ours that has not reached its exec yet holds all that we hold.
func TestOurOwnSocketsAreNotEnded(t *testing.T) {
	p := newPlace(t)
	dir := filepath.Join(p.root, p.make(t, "/a"))
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	cgroup, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer cgroup.Close()
	child := exec.Command("sleep", "60")
	child.ExtraFiles = []*os.File{ours}
	child.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	if uncovered, err := Sever(p.root, p.name+"/a"); err != nil || uncovered != 0 {
		t.Errorf("uncovered %d, %v", uncovered, err)
	}
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatalf("our listener was ended: %v", err)
	}
	_ = c.Close()
}

// holder starts hold in a cgroup. tell makes it try its sockets and returns those that work.
func holder(t *testing.T, dir string, packet bool) (*exec.Cmd, func() string) {
	t.Helper()
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close(); udp.Close() })
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s%s", holdVariable, tcp.Addr(), udp.LocalAddr(), map[bool]string{true: " packet"}[packet]))
	cmd.Stderr = os.Stderr
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := Start(cmd, dir, nil); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("the holder said %q", lines.Text())
	}
	return cmd, func() string {
		fmt.Fprintln(in)
		var works []string
		for lines.Scan() {
			works = append(works, lines.Text())
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		return strings.Join(works, " ")
	}
}

func TestACommandStartsInsideAsItsUserWithoutSockets(t *testing.T) {
	p := newPlace(t)
	as, err := AccountOf("nobody")
	if err != nil {
		t.Fatal(err)
	}
	inherited, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0) // no close-on-exec, as a shell would hand it on
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	cmd := exec.Command("/bin/sh", "-c", "cat /proc/self/cgroup; id -u; id -G; ls -l /proc/self/fd")
	var out strings.Builder
	cmd.Stdout = &out
	if err := Start(cmd, filepath.Join(p.root, p.name), as); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	s := out.String()
	if !strings.Contains(s, "0::"+p.name+"\n") || !strings.Contains(s, "\n65534\n65534\n") || strings.Contains(s, "socket:") {
		t.Errorf("it said:\n%s", s)
	}
}

func TestASocketIsNoStandardInput(t *testing.T) {
	p := newPlace(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("/bin/true")
	cmd.Stdin = f
	if err := Start(cmd, filepath.Join(p.root, p.name), nil); err == nil {
		_ = cmd.Wait()
		t.Error("a network socket became standard input")
	}
}

func TestListenersAreOnLoopbackOnly(t *testing.T) {
	ls, err := Listen(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range ls {
		defer l.Close()
		a := l.Addr().(*net.TCPAddr)
		if !a.IP.IsLoopback() || a.Port != ls[0].Addr().(*net.TCPAddr).Port {
			t.Errorf("listening on %s", a)
		}
	}
}

func TestOneYardsSweepLeavesTheOthersAlone(t *testing.T) {
	root, err := cgroup2.Root()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("yard-test-%d", os.Getpid())
	ours, theirs := NewYard(root, "/sys/fs/bpf/"+name), NewYard(root, "/sys/fs/bpf/"+name+"/other")
	cgroup, err := ours.Make("run-about-to-start")
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.Sweep(); err != nil {
		t.Error(err)
	}
	if !Empty(root, cgroup) {
		t.Error("another yard's cgroup was swept away")
	}
	if err := theirs.Unmake(cgroup); err == nil {
		t.Error("another yard's cgroup was removed")
	}
	if err := ours.Sweep(); err != nil || Empty(root, cgroup) {
		t.Errorf("an empty cgroup of one's own stays (%v)", err)
	}
}
