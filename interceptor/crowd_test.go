package interceptor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// crowded is a house whose bot knocks too often.
type crowded struct {
	quiet
	to netip.AddrPort

	mu     sync.Mutex
	events []flow.Event
	read   int // processes looked at
}

func (c *crowded) Origin(syscall.Conn) (flow.Origin, error) {
	return flow.Origin{Destination: c.to, Enrollment: 1}, nil
}
func (*crowded) Identity(uint32) (string, bool) { return "bot", true }
func (c *crowded) Read(flow.Origin) flow.Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read++
	return flow.Process{PID: 7}
}
func (c *crowded) Begin(string, *flow.Flow) (Recording, error) { return c, nil }
func (*crowded) End(string) error                              { return nil }
func (c *crowded) Log(ev flow.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, ev)
	return nil
}

// parrot is a protocol that passes everything.
type parrot struct{}

func (parrot) Name() string      { return "tcp" }
func (parrot) Sniff([]byte) bool { return false }
func (parrot) Open(ctx context.Context, c *Conn) (Engine, error) {
	return blobs{}, c.Dial(ctx)
}
func (parrot) Refuse(context.Context, *Conn, Answer) {}

// knock starts a server with places for two and returns how to knock at it, and how to end it.
func (c *crowded) knock(t *testing.T, upstream netip.AddrPort) (knock func() (net.Conn, error), end func()) {
	t.Helper()
	c.to = upstream
	policy, err := rules.Parse([]rules.File{{Name: "test.yaml", Data: []byte(askingPolicy)}}, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Origins: c, Enrollments: c, Processes: c, Recorder: c, Journal: c, Meter: c, Protocols: []Protocol{parrot{}},
		Policy: func() *rules.Policy { return policy }, Dial: Dial, Log: slog.New(slog.DiscardHandler), Places: 2,
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ctx, l) }()
	return func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }, func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

// sum adds up what the journal says was turned away.
func (c *crowded) sum() (entries, connections int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ev := range c.events {
		entries++
		n := 1
		if ev.Type == flow.CaptureRefused {
			n = ev.Result["count"].(int)
		}
		connections += n
	}
	return entries, connections
}

func echo(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func TestCrowdIsTurnedAwayAndSummed(t *testing.T) {
	c := &crowded{}
	knock, end := c.knock(t, echo(t))
	for range 2 {
		inside, err := knock()
		if err != nil {
			t.Fatal(err)
		}
		defer inside.Close()
		say(t, inside, "x")
		if _, err := io.ReadFull(inside, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	for range 300 {
		conn, err := knock()
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("the third of two was let in, or not reset: %v", err)
		}
	}
	end()
	if entries, connections := c.sum(); entries > 10 || connections != 300 {
		t.Fatalf("%d connections in %d entries", connections, entries)
	}
	if c.read > 2+10 {
		t.Errorf("the process of %d connections was looked at, which costs more than they are worth", c.read)
	}
	for _, ev := range c.events {
		if ev.Type == flow.CaptureRefused && ev.Process.PID != 7 {
			t.Error("a sum names no process")
		}
	}
}

func TestRefusalsOverAndOverAreSummed(t *testing.T) {
	c := &crowded{}
	knock, end := c.knock(t, netip.MustParseAddrPort("192.0.2.1:1")) // no target has it
	for range 300 {
		conn, err := knock()
		if err != nil {
			continue // reset at once
		}
		_, _ = io.WriteString(conn, "a greeting of some length")
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}
	end()
	if entries, connections := c.sum(); entries > 100 || connections != 300 {
		t.Fatalf("%d connections in %d entries", connections, entries)
	}
}
