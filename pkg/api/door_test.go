package api

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// crowd starts a peer that fills the socket with idle connections until the test ends.
func crowd(t *testing.T, socket string, attr *syscall.SysProcAttr) {
	t.Helper()
	copied := filepath.Join(filepath.Dir(socket), "peer") // where every user can run it
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, text, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(copied)
	cmd.Dir, cmd.SysProcAttr = "/", attr
	cmd.Env = append(os.Environ(), "CHAPERONE_TEST_PEER=crowd", "CHAPERONE_TEST_SOCKET="+socket)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
	if _, err := io.ReadFull(stdout, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestNobodyLocksTheOperatorOut(t *testing.T) {
	fd := enrolledCgroup(t)
	for name, attr := range map[string]*syscall.SysProcAttr{
		"another user":     {Credential: &syscall.Credential{Uid: 65534, Gid: 65534}},
		"an enrolled root": {UseCgroupFD: true, CgroupFD: fd},
	} {
		t.Run(name, func(t *testing.T) {
			h, _, _ := house(t)
			path := serve(t, h)
			crowd(t, path, attr)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			var err error
			for range 50 { // an enrolled root's connections have root's places until they are looked at
				if _, err = dial(t, path).Asks(ctx, ""); err == nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			t.Error(err)
		})
	}
}

func TestPlaces(t *testing.T) {
	d := &door{inside: map[uint32]int{}}
	take := func(uid uint32) int {
		n := 0
		for d.enter(uid) {
			n++
		}
		return n
	}
	if got := take(1000); got != placesOfOne {
		t.Errorf("one user has %d", got)
	}
	all := placesOfOne
	for uid := uint32(1001); uid < 1100; uid++ {
		all += take(uid)
	}
	if all != placesOfOthers {
		t.Errorf("all users have %d", all)
	}
	if got := take(0); got != placesOfRoot {
		t.Errorf("root has %d", got)
	}
	if got := take(refused); got != turnedAway {
		t.Errorf("the refused have %d", got)
	}
	d.leave(1000)
	if got := take(1000); got != 1 {
		t.Errorf("after one has left there are %d places", got)
	}
}

func TestADaemonThatSaysNothingIsNotWaitedForEver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := dial(t, path)
	c.patience = 50 * time.Millisecond
	if _, err = c.Status(t.Context()); !errors.Is(err, errSilent) || !strings.Contains(HintOf(err), "restart") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err = dial(t, path).Status(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the caller's own deadline: %v", err)
	}
}
