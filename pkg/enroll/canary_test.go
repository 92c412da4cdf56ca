package enroll

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// arrive plays a connection that says nonce to a Canaries, and returns its answer.
func arrive(t *testing.T, c *Canaries, pid uint32, to, nonce string) (taken bool, answer string) {
	t.Helper()
	client, server := net.Pipe()
	done := make(chan bool)
	go func() {
		is := c.Answer(server, flow.Origin{Enrollment: 3, TGID: pid, Destination: netip.MustParseAddrPort(to)})
		server.Close()
		done <- is
	}()
	lines := bufio.NewReader(client)
	go fmt.Fprintln(client, nonce)
	answer, _ = lines.ReadString('\n')
	client.Close()
	return <-done, answer
}

func TestOnlyAnExpectedCanaryIsAnswered(t *testing.T) {
	c := &Canaries{}
	nonce := newNonce()
	arrived, err := c.expect(nonce, func() (int, error) { return 7, nil })
	if err != nil {
		t.Fatal(err)
	}
	if taken, answer := arrive(t, c, 7, "192.0.2.1:9", "guess"); !taken || answer != "" {
		t.Errorf("a guess: taken %v, answered %q", taken, answer)
	}
	if taken, answer := arrive(t, c, 8, "192.0.2.1:9", nonce); !taken || answer != "" {
		t.Errorf("another process: taken %v, answered %q", taken, answer)
	}
	if taken, answer := arrive(t, c, 7, "192.0.2.1:9", nonce); !taken || answer != "heard\n" {
		t.Errorf("the canary: taken %v, answered %q", taken, answer)
	}
	if o := <-arrived; o.Enrollment != 3 {
		t.Errorf("it arrived as %+v", o)
	}
	c.forget(7)
	if _, answer := arrive(t, c, 7, "[2001:db8::1]:9", nonce); answer != "" {
		t.Errorf("answered again: %q", answer)
	}
	if taken, _ := arrive(t, c, 7, "192.0.2.1:10", nonce); taken {
		t.Error("another's connection was taken")
	}
}

// A cgroup may be frozen before a canary is sent, by it or above it, or while it is on its way.
func TestACanaryOfAFrozenCgroupFailsAndEnds(t *testing.T) {
	freeze := func(t *testing.T, dir, on string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte(on), 0); err != nil {
			t.Fatal(err)
		}
	}
	for name, frozen := range map[string]string{"before, itself": "/a", "before, above it": "", "meanwhile": "/none"} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			dir, outer := filepath.Join(p.root, p.make(t, "/a")), filepath.Join(p.root, p.name)
			t.Cleanup(func() { freeze(t, dir, "0"); freeze(t, outer, "0") })
			if frozen != "/none" {
				freeze(t, outer+frozen, "1")
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			c := &Canaries{Command: []string{"/bin/sh", "-c", `echo 1 >"$1/cgroup.freeze"; echo 0 >"$1/cgroup.procs"; exit 1`, "sh"}}
			if _, err := c.Send(ctx, dir, 1); !errors.Is(err, errFrozen) {
				t.Errorf("got %v", err)
			}
			if frozen != "/none" && ctx.Err() != nil {
				t.Error("it was sent all the same")
			}
			for deadline := time.Now().Add(emptyWait); !Empty(p.root, p.name+"/a"); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the canary is still there")
				}
			}
		})
	}
}

func TestACanaryJoinsBeforeItConnects(t *testing.T) {
	if err := Sing(t.TempDir(), "192.0.2.1:9", "nonce"); err == nil || !strings.Contains(err.Error(), "join") {
		t.Errorf("got %v", err)
	}
}
