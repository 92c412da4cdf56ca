package protocoltest

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// Proxy is the real driver in front of one real server, on a loopback port.
// Its clients connect to Addr instead of being turned there by the kernel.
type Proxy struct {
	Addr    string
	Journal *Journal
	Asker   *Desk

	upstream netip.AddrPort
	mu       sync.Mutex // guards tapes
	tapes    []*LiveTape
}

// Serve starts a proxy; it stops, and has let go of everything, when the test ends. policy is a policy
// with an identity "bot" and a target whose address is upstream's.
func Serve(t testing.TB, p interceptor.Protocol, upstream netip.AddrPort, policy string) *Proxy {
	t.Helper()
	law, err := rules.Parse([]rules.File{{Name: "policy.yaml", Data: []byte(policy)}}, rules.Options{Generation: 1, Key: []byte("0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &Proxy{Addr: l.Addr().String(), Journal: &Journal{}, Asker: &Desk{}, upstream: upstream}
	server := &interceptor.Server{
		Origins: proxy, Enrollments: proxy, Processes: proxy, Recorder: proxy, Asker: proxy.Asker, Journal: proxy.Journal,
		Policy: func() *rules.Policy { return law }, Meter: &Meter{}, Protocols: []interceptor.Protocol{p},
		Dial: interceptor.Dial, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return proxy
}

// Origin implements interceptor.Origins.
func (p *Proxy) Origin(syscall.Conn) (flow.Origin, error) {
	return flow.Origin{Destination: p.upstream, Enrollment: 1}, nil
}

// Identity implements interceptor.Enrollments.
func (p *Proxy) Identity(uint32) (string, bool) { return "bot", true }

// Read implements interceptor.Processes.
func (p *Proxy) Read(flow.Origin) flow.Process { return flow.Process{PID: 1, Partial: true} }

// Begin implements interceptor.Recorder.
func (p *Proxy) Begin(string, *flow.Flow) (interceptor.Recording, error) {
	tape := &LiveTape{}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tapes = append(p.tapes, tape)
	return tape, nil
}

// Tapes are the sessions' tapes so far, in the order they began.
func (p *Proxy) Tapes() []*LiveTape {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*LiveTape(nil), p.tapes...)
}

// LiveTape is a Tape that two goroutines may use.
type LiveTape struct {
	mu      sync.Mutex // guards tape and outcome
	tape    Tape
	outcome string
}

// Append implements interceptor.Tape.
func (t *LiveTape) Append(kind interceptor.TapeKind, body []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tape.Append(kind, body)
}

// Sync implements interceptor.Tape.
func (t *LiveTape) Sync() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tape.Sync()
}

// End implements interceptor.Recording.
func (t *LiveTape) End(outcome string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outcome = outcome
	return nil
}

// Entries are what was taken down so far.
func (t *LiveTape) Entries() []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Entry(nil), t.tape.Entries...)
}

// Outcome is what the session ended with, empty while it lives.
func (t *LiveTape) Outcome() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.outcome
}

// Journal keeps events.
type Journal struct {
	mu     sync.Mutex // guards events
	events []flow.Event
}

// Log implements interceptor.Journal.
func (j *Journal) Log(e flow.Event) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
	return nil
}

// Events are the events so far.
func (j *Journal) Events() []flow.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]flow.Event(nil), j.events...)
}

// Desk resolves every ask with State after Delay, or when the asker gives up.
type Desk struct {
	State string // approved denied expired; set before the first connection
	Delay time.Duration
}

// Ask implements interceptor.Asker.
func (d *Desk) Ask(context.Context, *flow.Flow, *flow.Request, rules.Decision) (interceptor.Ask, error) {
	return d, nil
}

// ID implements interceptor.Ask.
func (d *Desk) ID() string { return "r-1" }

// Wait implements interceptor.Ask.
func (d *Desk) Wait(ctx context.Context) flow.AskState {
	select {
	case <-time.After(d.Delay):
		return flow.AskState{ID: "r-1", State: d.State, Reason: "because"}
	case <-ctx.Done():
		return flow.AskState{ID: "r-1", State: "cancelled"}
	}
}
