package enroll

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// arrive plays a connection that says nonce to a Canaries, and returns its answer.
func arrive(t *testing.T, c *Canaries, to, nonce string) (taken bool, answer string) {
	t.Helper()
	client, server := net.Pipe()
	done := make(chan bool)
	go func() {
		is := c.Answer(server, flow.Origin{Enrollment: 3, Destination: netip.MustParseAddrPort(to)})
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
	nonce, arrived := c.expect()
	if taken, answer := arrive(t, c, "192.0.2.1:9", "guess"); !taken || answer != "" {
		t.Errorf("a guess: taken %v, answered %q", taken, answer)
	}
	if taken, answer := arrive(t, c, "192.0.2.1:9", nonce); !taken || answer != "heard\n" {
		t.Errorf("the canary: taken %v, answered %q", taken, answer)
	}
	if o := <-arrived; o.Enrollment != 3 {
		t.Errorf("it arrived as %+v", o)
	}
	c.forget(nonce)
	if _, answer := arrive(t, c, "[2001:db8::1]:9", nonce); answer != "" {
		t.Errorf("answered again: %q", answer)
	}
	if taken, _ := arrive(t, c, "192.0.2.1:10", nonce); taken {
		t.Error("another's connection was taken")
	}
}
