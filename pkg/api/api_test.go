package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/approval"
	"github.com/chaperone-dev/chaperone/pkg/cgroup2"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/leaks"
	"github.com/chaperone-dev/chaperone/rules"
)

// init keeps TestMain on the process's first thread.
func init() { runtime.LockOSThread() }

// TestMain doubles as the peer of a test: a process of its own, in whatever
// cgroup and with whatever uid the test starts it.
func TestMain(m *testing.M) {
	switch os.Getenv("CHAPERONE_TEST_PEER") {
	case "":
		os.Exit(leaks.Run(m))
	case "fork": // the peer is a grandchild that has moved out of the cgroup
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "CHAPERONE_TEST_PEER=escape")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		_ = cmd.Run()
	case "squat": // the peer listens, as user 1
		if err := syscall.Setuid(1); err != nil {
			return
		}
		if _, err := net.Listen("unix", os.Getenv("CHAPERONE_TEST_SOCKET")); err != nil {
			return
		}
		os.Stdout.WriteString(".")
		_, _ = io.ReadAll(os.Stdin)
	case "leaderless": // its first thread exits, and stays behind when the process is moved
		go func() {
			for !over("/proc/self") {
				time.Sleep(time.Millisecond)
			}
			if err := os.WriteFile(os.Getenv("CHAPERONE_TEST_CGROUP")+"/cgroup.procs", []byte("0"), 0); err != nil {
				os.Stdout.WriteString("move: " + err.Error())
			}
			ask()
			os.Exit(0)
		}()
		_, _, _ = syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0)
	case "crowd": // connects as often as it can, and says nothing
		for range 300 {
			c, err := net.Dial("unix", os.Getenv("CHAPERONE_TEST_SOCKET"))
			if err != nil {
				break
			}
			defer c.Close()
		}
		os.Stdout.WriteString(".")
		_, _ = io.ReadAll(os.Stdin)
	case "escape":
		if err := os.WriteFile(cgroupMount()+"/cgroup.procs", []byte("0"), 0); err != nil {
			os.Stdout.WriteString("escape: " + err.Error())
			return
		}
		ask()
	default:
		ask()
	}
}

// ask is what a peer does: list, then approve what is there.
func ask() {
	c := Dial(os.Getenv("CHAPERONE_TEST_SOCKET"))
	list, err := c.Asks(context.Background(), "")
	os.Stdout.WriteString(outcome(err))
	for _, a := range list {
		_, err := c.Decide(context.Background(), a.ID, Decision{Approve: true})
		os.Stdout.WriteString(" decide:" + outcome(err))
	}
	_, err = c.Reload(context.Background())
	os.Stdout.WriteString(" reload:" + outcome(err))
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrRefused):
		return "refused"
	}
	return err.Error()
}

func cgroupMount() string {
	root, err := cgroup2.Root()
	if err != nil {
		return err.Error() // no path: what is done there says so
	}
	return root
}

type journal struct{}

func (journal) Log(flow.Event) error { return nil }

type nobody struct{}

func (nobody) Members(string) ([]string, bool) { return nil, false }

// house is a daemon with a desk and one open ask of uid 1500, which nobody and daemon may approve.
func house(t *testing.T) (House, *approval.Desk, string) {
	t.Helper()
	desk, err := approval.Open(t.TempDir(), journal{}, nobody{}, time.Now, approval.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := desk.Ask(t.Context(), &flow.Flow{ID: "f", Identity: "bot", Process: flow.Process{UID: 1500}},
		&flow.Request{Text: "DROP TABLE t", Fingerprint: "x"}, rules.Decision{Approvers: []string{"nobody", "daemon"}})
	if err != nil {
		t.Fatal(err)
	}
	return House{
		Desk: desk, Log: slog.New(slog.DiscardHandler),
		Enrolled: func(cgroup string) bool { return strings.Contains(cgroup, "chaperone-api-test") },
		Reload:   func(context.Context) (PolicyStatus, error) { return PolicyStatus{Generation: 2}, nil },
		Enroll: func(_ context.Context, e Enroll) (Enrollment, error) {
			if e.Identity == "ghost" {
				return Enrollment{}, Hint(ErrNotFound, "chaperone identities list")
			}
			return Enrollment{Identity: e.Identity, Cgroup: e.Cgroup}, nil
		},
		Kill: func(context.Context, Kill) (int, error) { return 3, nil },
	}, desk, a.ID()
}

// serve answers for h on a socket that anybody may connect to, until the test ends.
func serve(t *testing.T, h House) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "chaperone-api")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "control.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{dir: 0o755, path: 0o666} { // the test of peers is beyond the file's mode
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	s, served := NewServer(h), make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return path
}

func dial(t *testing.T, path string) *Client {
	c := Dial(path)
	t.Cleanup(c.Close)
	return c
}

func TestVerbsAnswer(t *testing.T) {
	h, _, id := house(t)
	c, ctx := dial(t, serve(t, h)), t.Context()
	list, err := c.Asks(ctx, approval.Pending)
	if err != nil || len(list) != 1 || list[0].ID != id || list[0].Request.Text != "DROP TABLE t" {
		t.Fatalf("%+v, %v", list, err)
	}
	if e, err := c.Enroll(ctx, Enroll{Identity: "bot", Cgroup: "/x"}); err != nil || e.Cgroup != "/x" {
		t.Errorf("enroll: %+v, %v", e, err)
	}
	if n, err := c.Kill(ctx, Kill{Identity: "bot"}); err != nil || n != 3 {
		t.Errorf("kill: %d, %v", n, err)
	}
	v, err := c.Decide(ctx, id, Decision{Approve: true, Scope: "session", Reason: "fine"})
	if err != nil || v.State != approval.Approved || v.By != "root (administrator)" || v.Scope != "session" || v.Reason != "fine" {
		t.Errorf("decide: %+v, %v", v, err)
	}
}

func TestFailuresAreTold(t *testing.T) {
	h, _, id := house(t)
	c, ctx := dial(t, serve(t, h)), t.Context()
	for name, test := range map[string]struct {
		call func() error
		want error
	}{
		"unknown ask":   {func() error { _, err := c.Ask(ctx, "r-000000"); return err }, ErrNotFound},
		"strange id":    {func() error { _, err := c.Ask(ctx, "../../../etc/passwd"); return err }, ErrNotFound},
		"bad scope":     {func() error { _, err := c.Decide(ctx, id, Decision{Approve: true, Scope: "always"}); return err }, ErrInvalid},
		"long scope":    {func() error { _, err := c.Decide(ctx, id, Decision{Approve: true, Scope: "9999h"}); return err }, ErrInvalid},
		"no identity":   {func() error { _, err := c.Enroll(ctx, Enroll{PID: 1}); return err }, ErrInvalid},
		"two selectors": {func() error { _, err := c.Enroll(ctx, Enroll{Identity: "b", PID: 1, Unit: "u"}); return err }, ErrInvalid},
		"not there":     {func() error { _, err := c.Enroll(ctx, Enroll{Identity: "ghost", PID: 1}); return err }, ErrNotFound},
		"kill what":     {func() error { _, err := c.Kill(ctx, Kill{}); return err }, ErrInvalid},
		"no such verb":  {func() error { _, err := c.Status(ctx); return err }, ErrUnsupported},
		"no release":    {func() error { return c.Release(ctx, "x") }, ErrUnsupported},
		"no daemon":     {func() error { _, err := dial(t, "/nowhere/x.sock").Status(ctx); return err }, ErrNotRunning},
	} {
		if err := test.call(); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	_, err := c.Enroll(ctx, Enroll{Identity: "ghost", PID: 1})
	if HintOf(err) != "chaperone identities list" {
		t.Errorf("hint %q", HintOf(err))
	}
	_, err = dial(t, "/nowhere/x.sock").Status(ctx)
	if !strings.Contains(HintOf(err), "sudo chaperone daemon") {
		t.Errorf("hint %q", HintOf(err))
	}
}

func TestRequestsAreReadStrictly(t *testing.T) {
	h, _, _ := house(t)
	c := dial(t, serve(t, h))
	for _, body := range []string{``, `{}`, `{"identity":"b","pid":1,"admin":true}`, `{"identity":"b","pid":1}{}`, `[]`, `{"identity":"b","pid":"1"}`,
		`{"identity":"` + strings.Repeat("x", bodyLimit) + `","pid":1}`} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/v1/enroll", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		res, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%.40q: %d", body, res.StatusCode)
		}
	}
}

// peerProcess starts this test's binary as a peer and returns what it said.
func peerProcess(t *testing.T, socket, kind string, attr *syscall.SysProcAttr) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	if attr.Credential != nil { // the test binary may lie where only root can go
		copied := filepath.Join(filepath.Dir(socket), "peer")
		text, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied, text, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd = exec.Command(copied)
		cmd.Dir = "/"
	}
	cmd.Env = append(os.Environ(), "CHAPERONE_TEST_PEER="+kind, "CHAPERONE_TEST_SOCKET="+socket)
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// enrolledCgroup makes a cgroup whose name the test house takes for enrolled.
func enrolledCgroup(t *testing.T) int {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp(cgroupMount(), "chaperone-api-test")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.Close()
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return int(f.Fd())
}

func TestEnrolledProcessGetsNoAnswerEvenAsRoot(t *testing.T) {
	h, _, _ := house(t)
	fd, path := enrolledCgroup(t), serve(t, h)
	if said := peerProcess(t, path, "direct", &syscall.SysProcAttr{}); said != "ok decide:ok reload:ok" {
		t.Fatalf("a free peer: %s", said)
	}
	h2, desk, id := house(t)
	path = serve(t, h2)
	for _, kind := range []string{"direct", "fork"} {
		said := peerProcess(t, path, kind, &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd})
		if said != "refused reload:refused" {
			t.Errorf("%s: %s", kind, said)
		}
	}
	t.Setenv("CHAPERONE_TEST_CGROUP", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd))
	if said := peerProcess(t, path, "leaderless", &syscall.SysProcAttr{}); said != "refused reload:refused" {
		t.Errorf("leaderless: %s", said)
	}
	if v, _ := desk.Show(id); v.State != approval.Pending {
		t.Errorf("the ask is %s", v.State)
	}
}

func TestOtherUsersMayOnlyWhatTheyMay(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for uid, want := range map[uint32]string{
		1:     "ok decide:ok reload:refused",      // daemon, an approver
		2:     "ok decide:refused reload:refused", // bin, who is none
		1500:  "ok decide:refused reload:refused", // runs the held process
		65534: "ok decide:ok reload:refused",      // nobody, an approver
	} {
		h, _, _ := house(t)
		said := peerProcess(t, serve(t, h), "direct", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: 65534}})
		if said != want {
			t.Errorf("uid %d: %s, want %s", uid, said, want)
		}
	}
}

func TestWatchTellsWhatChanges(t *testing.T) {
	h, desk, id := house(t)
	c := dial(t, serve(t, h))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := make(chan approval.View)
	done := make(chan error, 1)
	go func() {
		done <- c.WatchAsks(ctx, func(v approval.View) error { seen <- v; return nil })
	}()
	if v := <-seen; v.ID != id || v.State != approval.Pending {
		t.Errorf("first %+v", v)
	}
	if err := desk.Decide(id, false, approval.Person{}, approval.Scope{}, "no"); err != nil {
		t.Fatal(err)
	}
	if v := <-seen; v.State != approval.Denied {
		t.Errorf("then %+v", v)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWatchEndsWithTheServer(t *testing.T) {
	h, _, _ := house(t)
	dir := t.TempDir()
	l, err := Listen(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	s, served := NewServer(h), make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c := dial(t, filepath.Join(dir, "s"))
	started, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- c.WatchAsks(t.Context(), func(approval.View) error { close(started); return nil })
	}()
	<-started
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("watch ended with %v", err)
	}
	<-served
}

func TestSocketIsGuarded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "control.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := Listen(path); !errors.Is(err, ErrRunning) {
		t.Errorf("a second daemon: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket stayed")
	}
}

func TestSocketOfADeadDaemonIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if _, err := Listen(path); !errors.Is(err, ErrRunning) {
		t.Errorf("while it is answered: %v", err)
	}
	_ = dead.Close()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

func TestWhatADaemonLeftIsCleared(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Clear(path); !errors.Is(err, ErrRunning) {
		t.Errorf("while a daemon listens: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	for range 2 {
		if err := Clear(path); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	if err := Clear(filepath.Join(dir, "none", "s")); err != nil {
		t.Error(err)
	}
}

func TestPlacesOthersCanWriteAreRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "s")
	if err := os.WriteFile(file, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil {
		t.Error("a file was taken for a socket")
	}
	if text, _ := os.ReadFile(file); !bytes.Equal(text, []byte("keep")) {
		t.Error("the file was removed")
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(filepath.Join(open, "s")); err == nil {
		t.Error("a directory that anybody writes to was taken")
	}
}

func TestServerOfAnotherUserIsNotTold(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("", "chaperone-api")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chown(dir, 1, 1); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "CHAPERONE_TEST_PEER=squat", "CHAPERONE_TEST_SOCKET="+filepath.Join(dir, "s"))
	stdin, _ := cmd.StdinPipe()
	stdout, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_, err = dial(t, filepath.Join(dir, "s")).Status(t.Context())
	if !errors.Is(err, ErrRefused) {
		t.Errorf("a squatter was spoken to: %v", err)
	}
	_ = stdin.Close()
	_ = cmd.Wait()
}
