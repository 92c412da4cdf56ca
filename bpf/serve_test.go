package bpf

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// probeServe accepts one connection on every address, closes its listener, and
// only then speaks.
func probeServe([]string) (string, error) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return "", err
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	conn, err := l.Accept()
	if err != nil {
		return "", err
	}
	l.Close()
	fmt.Fprintln(conn, "served")
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		return "", err
	}
	return "heard", conn.Close()
}

func TestEnrolledServersServeThisHostOnly(t *testing.T) {
	_, port := listen(t)
	_, cgroup := enrolled(t, port)
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		t.Run("served at "+host, func(t *testing.T) {
			at, ended := server(t, cgroup)
			conn, err := net.Dial("tcp", net.JoinHostPort(host, at))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if line, err := bufio.NewReader(conn).ReadString('\n'); line != "served\n" {
				t.Fatalf("heard %q: %v", line, err)
			}
			fmt.Fprintln(conn, "thanks")
			if said := ended(); said != "heard" {
				t.Errorf("the server said %q", said)
			}
		})
	}
	t.Run("silent at other addresses", func(t *testing.T) {
		at, _ := server(t, cgroup)
		for _, host := range otherAddresses(t) {
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, at), 300*time.Millisecond)
			if err == nil {
				conn.Close()
				t.Errorf("served at %s", host)
			}
		}
	})
}

// server starts one in a cgroup and returns its port, and how to hear how it ended.
func server(t *testing.T, cgroup string) (port string, ended func() string) {
	t.Helper()
	cmd := probe("serve")
	inside(t, cgroup, cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := false
	t.Cleanup(func() {
		if !waited {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line), func() string {
		said, _ := lines.ReadString('\n')
		waited = true
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		return strings.TrimSpace(said)
	}
}

// otherAddresses are this host's addresses that are not loopback.
func otherAddresses(t *testing.T) []string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var hosts []string
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			hosts = append(hosts, n.IP.String())
		}
	}
	return hosts
}
