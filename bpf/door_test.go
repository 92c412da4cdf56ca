package bpf

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const cgroupRoot = "/sys/fs/cgroup/unified"

func listen(t *testing.T) (*net.TCPListener, uint16) {
	t.Helper()
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	l, err := c.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener), uint16(l.Addr().(*net.TCPAddr).Port)
}

// enrolled opens a door and enrolls a cgroup of the test's own.
func enrolled(t *testing.T, port uint16) (*Door, string) {
	t.Helper()
	pins := filepath.Join("/sys/fs/bpf", fmt.Sprintf("chaperone-test-%d-%d", os.Getpid(), port))
	d, err := Open(Options{PinDir: pins, CgroupRoot: cgroupRoot, Port: port})
	if err != nil {
		t.Fatal(err)
	}
	cgroup := filepath.Join(cgroupRoot, filepath.Base(pins))
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Close()
		if err := Remove(pins); err != nil {
			t.Error(err)
		}
		if err := os.Remove(cgroup); err != nil {
			t.Error(err)
		}
	})
	if err := d.Enroll(cgroup, 7); err != nil {
		t.Fatal(err)
	}
	return d, cgroup
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
	if want := netip.MustParseAddrPort("203.0.113.9:5432"); o.Destination != want || o.Enrollment != 7 || int(o.TGID) != cmd.Process.Pid {
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
