package interceptor

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// lines is a toy protocol: every line passes, "ask ..." is a question, "wait ..." stalls
// until the server has said something, "boom" is an error with last words.
type lines struct {
	down    []byte // queued for the client
	pending bool
	granted bool
	waiting bool
	failed  bool
}

func (e *lines) Feed(dir Direction, in []byte, out *Output) (int, error) {
	if dir == Down {
		return e.feedDown(in, out)
	}
	used := 0
	for {
		i := bytes.IndexByte(in[used:], '\n')
		if i < 0 {
			return used, nil
		}
		line := in[used : used+i+1]
		switch {
		case e.waiting:
			out.Stalled = true
			return used, nil
		case bytes.HasPrefix(line, []byte("wait")):
			e.waiting = true
		case bytes.HasPrefix(line, []byte("boom")):
			e.down, e.failed = append(e.down, "last words\n"...), true
			return used, errors.New("boom")
		case bytes.HasPrefix(line, []byte("ask")) && !e.granted:
			text := string(line)
			out.Question = func(context.Context) (*flow.Request, error) {
				return &flow.Request{Kind: flow.KindQuery, Text: text}, nil
			}
			return used, nil
		}
		if !e.pending { // a refused line is swallowed
			out.Pass(line)
		}
		e.pending, e.granted = false, false
		used += i + 1
	}
}

func (e *lines) feedDown(in []byte, out *Output) (int, error) {
	if e.waiting && len(in) > 0 {
		e.waiting, out.Kick = false, true
	}
	out.Put(e.down)
	e.down = e.down[:0]
	out.Pass(in)
	out.End = e.failed
	return len(in), nil
}

func (e *lines) Resume(a Answer) {
	e.granted = true
	if a.Verdict == flow.Deny {
		e.pending = true
		e.down = append(e.down, fmt.Sprintf("refused: %s\n", a.Cause)...)
	}
}
func (e *lines) Tell(text string)             { e.down = append(e.down, text+"\n"...) }
func (e *lines) EOF(Direction, *Output) error { return nil }

// blobs passes everything.
type blobs struct{}

func (blobs) Feed(_ Direction, in []byte, out *Output) (int, error) {
	out.Pass(in)
	return len(in), nil
}
func (blobs) Resume(Answer)                {}
func (blobs) Tell(string)                  {}
func (blobs) EOF(Direction, *Output) error { return nil }

type quiet struct{}

func (quiet) Flow(*flow.Flow, int)                 {}
func (quiet) Request(string, string, flow.Verdict) {}
func (quiet) Bytes(string, Direction, int)         {}
func (quiet) Masked(string, string, int)           {}
func (quiet) Recorded(time.Duration)               {}
func (quiet) Refused(string)                       {}
func (quiet) Log(flow.Event) error                 { return nil }
func (quiet) Append(TapeKind, []byte) error        { return nil }
func (quiet) Sync() error                          { return nil }

// desk answers every ask from a channel.
type desk struct{ answers chan string }

func (d desk) Ask(context.Context, *flow.Flow, *flow.Request, rules.Decision) (Ask, error) {
	return d, nil
}
func (d desk) ID() string { return "r-1" }
func (d desk) Wait(ctx context.Context) flow.AskState {
	select {
	case state := <-d.answers:
		return flow.AskState{State: state}
	case <-ctx.Done():
		d.answers <- "cancelled"
		return flow.AskState{State: "cancelled"}
	}
}

const askingPolicy = `
identities: [{name: bot, match: [{cgroup: /bot}]}]
targets: [{name: db, protocol: tcp, addresses: ["127.0.0.1:*"]}]
grants: [{identity: bot, target: db, approval: none}]
rules:
  - {name: ask, target: db, when: 'request.text.startsWith("ask")', verdict: hold, timeout: 1m, approvers: [dba]}
people: [{name: dba, members: [alice]}]
`

// driver is one of the two ways to move bytes.
type driver func(context.Context, *Conn, Engine) error

// onBoth runs a test on goroutines and on a loop.
func onBoth(t *testing.T, test func(*testing.T, driver)) {
	t.Run("goroutines", func(t *testing.T) { test(t, drive) })
	t.Run("loop", func(t *testing.T) {
		l, err := NewLoop()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		test(t, l.drive)
	})
}

// between puts engine between a client and a server and returns both ends.
func between(t *testing.T, drive driver, engine Engine, asker Asker) (client, server *net.TCPConn, done <-chan error) {
	t.Helper()
	policy, err := rules.Parse([]rules.File{{Name: "test.yaml", Data: []byte(askingPolicy)}}, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, near := pair(t)
	server, far := pair(t)
	s := &Session{
		ID: "s", Flow: &flow.Flow{Identity: "bot", Target: "db"}, Target: &rules.Target{Name: "db"}, Masks: &rules.Masks{},
		Tape: quiet{}, Meter: quiet{}, Log: slog.New(slog.DiscardHandler),
		policy: func() *rules.Policy { return policy }, bound: policy.Generation(), asker: asker, journal: quiet{},
	}
	ended, over := make(chan error, 1), make(chan struct{})
	t.Cleanup(func() {
		client.Close()
		server.Close()
		<-over
	})
	go func() {
		defer close(over)
		err := drive(context.Background(), &Conn{Session: s, Client: near, Server: far}, engine)
		near.Close()
		far.Close()
		ended <- err
	}()
	return client, server, ended
}

func pair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close() })
	for { // a stranger may dial a port that was his server's a moment ago
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { accepted.Close() })
		if accepted.RemoteAddr().String() == dialled.LocalAddr().String() {
			return dialled.(*net.TCPConn), accepted.(*net.TCPConn)
		}
	}
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	got, err := r.ReadString('\n')
	if err != nil || !strings.HasPrefix(got, want) {
		t.Fatalf("heard %q (%v), want %q", got, err, want)
	}
}

func TestRelayPassesAndEnds(t *testing.T) { onBoth(t, relayPassesAndEnds) }

func relayPassesAndEnds(t *testing.T, d driver) {
	client, server, done := between(t, d, &lines{}, nil)
	say(t, client, "one\ntwo\n")
	sr, cr := bufio.NewReader(server), bufio.NewReader(client)
	hear(t, sr, "one")
	hear(t, sr, "two")
	say(t, server, "answer\n")
	hear(t, cr, "answer")
	client.CloseWrite()
	if _, err := sr.ReadByte(); err != io.EOF {
		t.Fatalf("the server saw %v, want the client's end", err)
	}
	say(t, server, "late\n")
	hear(t, cr, "late")
	server.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// hearLater makes the server speak until want rides on its words: this toy
// protocol does not kick after a refusal.
func hearLater(t *testing.T, server net.Conn, r *bufio.Reader, want string) {
	t.Helper()
	for range 1000 {
		say(t, server, "x\n")
		got, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(got, want) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("never heard %q", want)
}

func TestHoldTellsThenFollowsTheAnswer(t *testing.T) { onBoth(t, holdTellsThenFollowsTheAnswer) }

func holdTellsThenFollowsTheAnswer(t *testing.T, d driver) {
	for state, want := range map[string]string{"approved": "ask me", "denied": "refused: person", "expired": "refused: timeout"} {
		t.Run(state, func(t *testing.T) {
			people := desk{answers: make(chan string, 1)}
			client, server, _ := between(t, d, &lines{}, people)
			sr, cr := bufio.NewReader(server), bufio.NewReader(client)
			say(t, client, "before\nask me\nafter\n")
			hear(t, sr, "before")
			hear(t, cr, "chaperone: waiting for approval r-1 (rule ask")
			say(t, server, "meanwhile\n")
			hear(t, cr, "meanwhile")
			people.answers <- state
			if state == "approved" {
				hear(t, sr, want)
			} else {
				hearLater(t, server, cr, want)
			}
			hear(t, sr, "after")
		})
	}
}

func TestHoldEndsWhenTheClientLeaves(t *testing.T) { onBoth(t, holdEndsWhenTheClientLeaves) }

func holdEndsWhenTheClientLeaves(t *testing.T, d driver) {
	people := desk{answers: make(chan string, 1)}
	client, server, done := between(t, d, &lines{}, people)
	say(t, client, "ask me\n")
	hear(t, bufio.NewReader(client), "chaperone: waiting")
	client.Close()
	if got := <-people.answers; got != "cancelled" {
		t.Fatalf("the ask ended %s", got)
	}
	server.Close()
	<-done
}

func TestStalledLaneGoesOnAfterAKick(t *testing.T) { onBoth(t, stalledLaneGoesOnAfterAKick) }

func stalledLaneGoesOnAfterAKick(t *testing.T, d driver) {
	client, server, _ := between(t, d, &lines{}, nil)
	sr := bufio.NewReader(server)
	say(t, client, "wait\nnext\n")
	hear(t, sr, "wait")
	say(t, server, "go\n")
	hear(t, sr, "next")
}

func TestFailureHasLastWords(t *testing.T) { onBoth(t, failureHasLastWords) }

func failureHasLastWords(t *testing.T, d driver) {
	client, _, done := between(t, d, &lines{}, nil)
	say(t, client, "boom\n")
	cr := bufio.NewReader(client)
	hear(t, cr, "last words")
	if err := <-done; err == nil || err.Error() != "boom" {
		t.Fatalf("ended with %v", err)
	}
}

func (e *lines) Leave(why string) { e.down, e.failed = append(e.down, why+"\n"...), true }

func TestAnEndFromOutsideIsTold(t *testing.T) { onBoth(t, anEndFromOutsideIsTold) }

func anEndFromOutsideIsTold(t *testing.T, d driver) {
	for want, cause := range map[string]error{"ended by an administrator": errKilled, "the grant has ended": errGrantOver, "": context.Canceled} {
		outside, end := context.WithCancelCause(t.Context())
		client, server, done := between(t, func(_ context.Context, c *Conn, e Engine) error { return d(outside, c, e) }, &lines{}, nil)
		say(t, client, "one\n")
		hear(t, bufio.NewReader(server), "one")
		end(cause)
		if heard, _ := io.ReadAll(client); strings.TrimSpace(string(heard)) != want {
			t.Errorf("heard %q, want %q", heard, want)
		}
		<-done
	}
}

func TestTooLargeEndsTheSession(t *testing.T) { onBoth(t, tooLargeEndsTheSession) }

func tooLargeEndsTheSession(t *testing.T, d driver) {
	client, _, done := between(t, d, &lines{}, nil)
	go client.Write(bytes.Repeat([]byte("x"), 2*MaxBuffer))
	if err := <-done; !errors.Is(err, errTooLarge) {
		t.Fatalf("ended with %v", err)
	}
}

func TestBulkBothWaysArrivesWhole(t *testing.T) { onBoth(t, bulkBothWaysArrivesWhole) }

func bulkBothWaysArrivesWhole(t *testing.T, d driver) {
	client, server, done := between(t, d, blobs{}, nil)
	data := make([]byte, 32<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	var group sync.WaitGroup
	for _, ends := range [][2]*net.TCPConn{{client, server}, {server, client}} {
		group.Go(func() {
			ends[0].Write(data)
			ends[0].CloseWrite()
		})
		group.Go(func() {
			sum := sha256.New()
			if n, err := io.Copy(sum, ends[1]); err != nil || n != int64(len(data)) {
				t.Errorf("%d bytes of %d: %v", n, len(data), err)
			}
			if want := sha256.Sum256(data); !bytes.Equal(sum.Sum(nil), want[:]) {
				t.Error("the bytes differ")
			}
		})
	}
	group.Wait()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestForwardingAllocatesNothing: what passes unchanged costs no memory.
func TestForwardingAllocatesNothing(t *testing.T) { onBoth(t, forwardingAllocatesNothing) }

func forwardingAllocatesNothing(t *testing.T, d driver) {
	client, server, _ := between(t, d, blobs{}, nil)
	buf := make([]byte, 200)
	round := func() {
		client.Write(buf)
		io.ReadFull(server, buf)
		server.Write(buf)
		io.ReadFull(client, buf)
	}
	round()
	if n := testing.AllocsPerRun(500, round); n >= 1 {
		t.Errorf("%v allocations a round trip", n)
	}
}

func TestPanicEndsItsOwnSession(t *testing.T) { onBoth(t, panicEndsItsOwnSession) }

func panicEndsItsOwnSession(t *testing.T, d driver) {
	client, _, done := between(t, d, fragile{}, nil)
	say(t, client, "secret\n")
	if err := <-done; err == nil || strings.Contains(err.Error(), "secret") {
		t.Fatalf("ended with %v", err)
	}
	other, server, _ := between(t, d, blobs{}, nil)
	say(t, other, "still there\n")
	hear(t, bufio.NewReader(server), "still there")
}

// fragile panics on the first byte.
type fragile struct{ blobs }

func (fragile) Feed(_ Direction, in []byte, _ *Output) (int, error) {
	if len(in) > 0 {
		panic(string(in))
	}
	return 0, nil
}
