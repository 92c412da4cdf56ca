package enroll

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const hideVariable = "CHAPERONE_TEST_HIDE"

// hide is a process that has a connection to itself where it is not easily found: in a thread that has
// left what flag says (clone(2)), or, for 0, a socket that is not connected. It says when asked whether it still works.
func hide(flag string) int {
	if flag == "churn" {
		return churn()
	}
	code := make(chan int)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // the first thread would be looked at anyway
			code <- hide(flag)
			return
		}
		if err := hidden(flag); err != nil {
			code <- fail(err)
		}
		code <- 0
	}()
	return <-code
}

// churn is a process that has a socket of its own at any time, none for long.
func churn() int {
	fmt.Println("ready")
	last := -1
	for {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return fail(err)
		}
		_ = unix.Close(last)
		last = fd
		time.Sleep(time.Millisecond)
	}
}

func hidden(flag string) error {
	left, err := strconv.Atoi(flag)
	if err != nil {
		return err
	}
	if left&unix.CLONE_NEWNET != 0 {
		lo := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo", Index: 1}}
		if err := errors.Join(unix.Unshare(unix.CLONE_NEWNET), netlink.LinkSetUp(lo)); err != nil {
			return err
		}
	}
	if err := unix.Unshare(left & unix.CLONE_FILES); err != nil { // last: Go's poller is of the others' descriptors
		return err
	}
	var local [2]int
	if local, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); err != nil { // is no connection to end
		return err
	}
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil && left != 0 {
		err = toItself(client)
	}
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	if _, err := unix.Write(client, []byte("x")); err == nil {
		fmt.Println("tcp")
	}
	_, err = unix.Write(local[0], []byte("x"))
	return err
}

// toItself connects a socket to a listener of its own, which goes on as long as the process.
func toItself(client int) error {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(l, 1)); err != nil {
		return err
	}
	to, err := unix.Getsockname(l)
	if err != nil {
		return err
	}
	return unix.Connect(client, to)
}

func TestOlderSocketsAreFoundWhereverTheyAre(t *testing.T) {
	for _, c := range []struct {
		name      string
		flag      int
		uncovered int
	}{
		{"in a thread's own descriptors", unix.CLONE_FILES, 0},
		{"in a thread's own network namespace", unix.CLONE_NEWNET, 0},
		{"in both", unix.CLONE_FILES | unix.CLONE_NEWNET, 0},
		{"in no list of the kernel", 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", hideVariable, c.flag))
			cmd.Stderr = os.Stderr
			in, _ := cmd.StdinPipe()
			out, _ := cmd.StdoutPipe()
			if err := Start(cmd, filepath.Join(p.root, p.name), nil); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(out)
			if line, _ := lines.ReadString('\n'); line != "ready\n" {
				t.Fatalf("it said %q", line)
			}
			uncovered, err := Sever(p.root, p.name)
			fmt.Fprintln(in)
			still, _ := io.ReadAll(lines)
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			if err != nil || uncovered != c.uncovered || len(still) != 0 {
				t.Errorf("uncovered %d (%v), still works: %q", uncovered, err, still)
			}
		})
	}
}

func TestSocketsThatAreClosedMeanwhileAreNotUncovered(t *testing.T) {
	p := newPlace(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), hideVariable+"=churn")
	cmd.Stderr = os.Stderr
	out, _ := cmd.StdoutPipe()
	if err := Start(cmd, filepath.Join(p.root, p.name), nil); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("it said %q", line)
	}
	none := 0
	for range 40 { // now and then it has the same one open all the while
		uncovered, err := Sever(p.root, p.name)
		if err != nil {
			t.Fatal(err)
		}
		if uncovered == 0 {
			none++
		}
	}
	if none < 25 {
		t.Errorf("only %d times of 40 none was said to be uncovered", none)
	}
}

// leaderless has its first thread end (SYS_exit, 60 or 93) while another goes on.
const leaderless = `
import ctypes, platform, threading
def go_on():
    while "State:\tZ" not in open("/proc/self/status").read(): pass
    print("ready", flush=True)
    input()
threading.Thread(target=go_on).start()
ctypes.CDLL(None).syscall(60 if platform.machine() == "x86_64" else 93, 0)`

func TestAProcessWithoutItsFirstThreadIsNotMoved(t *testing.T) {
	cmd := exec.Command("python3", "-c", leaderless)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); strings.TrimSpace(line) != "ready" {
		t.Fatalf("it said %q, %v", line, err)
	}
	if err := Movable(cmd.Process.Pid); !errors.Is(err, ErrLeaderless) {
		t.Errorf("leaderless: %v", err)
	}
	in.Close()
	_ = cmd.Wait() // input() ends by an error
	if err := Movable(cmd.Process.Pid); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("gone: %v", err)
	}
}

func TestWhatTheDaemonDescendsFromIsNotMoved(t *testing.T) {
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	for pid, want := range map[int]error{child.Process.Pid: nil, os.Getpid(): ErrSelf, os.Getppid(): ErrAncestor, 1: ErrAncestor} {
		if err := Movable(pid); !errors.Is(err, want) {
			t.Errorf("%d: %v, not %v", pid, err, want)
		}
	}
}
