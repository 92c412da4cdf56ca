package identity

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// origin is a connect of a process, now.
func origin(t *testing.T, pid int) flow.Origin {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return flow.Origin{TGID: uint32(pid), UID: 12, Time: time.Duration(now.Nano())}
}

// child starts a shell that says "ready" after each line it reads, and does as it says.
func child(t *testing.T, script string, args ...string) (*exec.Cmd, func(string) string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, args...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	lines := bufio.NewReader(out)
	return cmd, func(say string) string {
		_, _ = in.Write([]byte(say))
		line, _ := lines.ReadString('\n')
		return line
	}
}

func TestAProcessIsReadWhole(t *testing.T) {
	cmd, say := child(t, "echo ready; read x", "--password="+secret)
	say("")
	p := New().Read(origin(t, cmd.Process.Pid))
	exe, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	if p.Partial || p.PID != cmd.Process.Pid || p.UID != 12 || p.Exe != exe || p.ExeSHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("read %+v", p)
	}
	if strings.Contains(strings.Join(p.Argv, " "), secret) || !slices.Contains(p.Argv, "--password="+redacted) {
		t.Errorf("argv %q", p.Argv)
	}
	if len(p.Ancestors) == 0 || p.Ancestors[0].PID != os.Getpid() {
		t.Errorf("ancestors %+v", p.Ancestors)
	}
}

func TestAPidThatWasGivenToAnotherIsNotMistaken(t *testing.T) {
	cmd, say := child(t, "echo ready; read x")
	say("")
	o := origin(t, cmd.Process.Pid)
	o.Time -= time.Minute // connected before this process was there
	if p := New().Read(o); !p.Partial || p.Exe != "" || p.Argv != nil {
		t.Errorf("read %+v", p)
	}
}

func TestAProcessThatIsGoneIsPartial(t *testing.T) {
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if p := New().Read(origin(t, cmd.Process.Pid)); !p.Partial || p.PID != cmd.Process.Pid || p.Exe != "" {
		t.Errorf("read %+v", p)
	}
}

// leaderless has its first thread end (SYS_exit, 60 or 93) while another goes on, and says which one that is.
const leaderless = `
import ctypes, platform, threading
def go_on():
    while "State:\tZ" not in open("/proc/self/status").read(): pass
    print(threading.get_native_id(), flush=True)
    input()
threading.Thread(target=go_on).start()
ctypes.CDLL(None).syscall(60 if platform.machine() == "x86_64" else 93, 0)`

func TestAProcessWithoutItsFirstThreadIsReadWhole(t *testing.T) {
	cmd, say := child(t, `exec python3 -c "$1"`, leaderless)
	tid, err := strconv.Atoi(strings.TrimSpace(say("")))
	if err != nil || tid == cmd.Process.Pid {
		t.Fatalf("thread %d of %d: %v", tid, cmd.Process.Pid, err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for name, connected := range map[string]int{"by the thread that connected": tid, "by another": cmd.Process.Pid} {
		t.Run(name, func(t *testing.T) {
			o := origin(t, cmd.Process.Pid)
			o.TID = uint32(connected)
			p := New().Read(o)
			if p.Partial || p.PID != cmd.Process.Pid || !strings.Contains(p.Exe, "python3") || p.ExeSHA256 == "" || len(p.Argv) != 3 || p.Cgroup != cgroupOf(string(own)) {
				t.Errorf("read %+v", p)
			}
		})
	}
}

// A process keeps its pid and start when it becomes another program.
func TestExecIsSeen(t *testing.T) {
	cmd, say := child(t, "echo ready; read x; exec cat")
	say("")
	r := New()
	before := r.Read(origin(t, cmd.Process.Pid))
	if again := r.Read(origin(t, cmd.Process.Pid)); again.ExeSHA256 != before.ExeSHA256 {
		t.Errorf("read again: %+v", again)
	}
	if got := say("go\nnow\n"); got != "now\n" { // cat's echo: the exec is over
		t.Fatalf("the child said %q", got)
	}
	after := r.Read(origin(t, cmd.Process.Pid))
	if after.Start != before.Start || filepath.Base(after.Exe) != "cat" || after.ExeSHA256 == before.ExeSHA256 {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestUnitOfACgroup(t *testing.T) {
	for cgroup, want := range map[string]string{
		"/system.slice/billing.service":                        "billing.service",
		"/system.slice/billing.service/worker":                 "billing.service",
		"/user.slice/user-1000.slice/session-3.scope":          "session-3.scope",
		"/user.slice/user@1000.service/app.slice/app.service":  "user@1000.service",
		"/system.slice/other.service/billing.service":          "other.service",
		"/made/billing.service":                                "",
		"/kubepods.slice/pod1.slice/cri-containerd-abc.scope/": "cri-containerd-abc.scope",
		"/": "", "": "",
	} {
		if got := unitOf(cgroup); got != want {
			t.Errorf("%q: %q, want %q", cgroup, got, want)
		}
	}
}

// A path is what the process would find under it, not what we would.
func TestPathsAreLookedUpWhereTheProcessIs(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"job.py", "in/job2.py"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/bin/cat")
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); _ = cmd.Wait() }()
	exists := pathsOf(cmd.Process.Pid)
	for path, want := range map[string]bool{
		"job.py": true, "./in/job2.py": true, "in/../job.py": true, dir + "/job.py": true, "/bin/cat": true,
		"other.py": false, "secret/../job.py": false, "/proc/self/exe/x": false, "job.py\x00": false,
	} {
		if got := exists(path); got != want {
			t.Errorf("%q: %v, want %v", path, got, want)
		}
	}
	if pathsOf(1 << 30)("/bin/cat") {
		t.Error("a process that is not there finds something")
	}
}

func TestPathsOfAnotherRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "etc/here"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"CHAPERONE_TEST_ROOT=" + dir}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); _ = cmd.Wait() }()
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "there\n" {
		t.Fatalf("the child said %q", line)
	}
	exists := pathsOf(cmd.Process.Pid)
	if !exists("/etc/here") || !exists("./here") || exists("/etc/passwd") || exists("../../../../etc/passwd") {
		t.Error("looked up where we are")
	}
}
