package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

type tapes struct {
	mu  sync.Mutex
	all []*tape
}

// tape remembers one session.
type tape struct {
	mu      sync.Mutex
	entries []tapeEntry
	syncs   int
	outcome string
}

type tapeEntry struct {
	kind interceptor.TapeKind
	body []byte
	at   time.Time
}

func (t *tape) Append(kind interceptor.TapeKind, body []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = append(t.entries, tapeEntry{kind, append([]byte(nil), body...), time.Now()})
	return nil
}

func (t *tape) Sync() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.syncs++
	return nil
}

func (t *tape) End(outcome string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outcome = outcome
	return nil
}

// stream is all that was taped of one kind.
func (t *tape) stream(kind interceptor.TapeKind) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, e := range t.entries {
		if e.kind == kind {
			b.Write(e.body)
		}
	}
	return b.String()
}

func (t *tapes) Begin(string, *flow.Flow) (interceptor.Recording, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := &tape{}
	t.all = append(t.all, one)
	return one, nil
}

// sessions are the tapes so far.
func (t *tapes) sessions() []*tape {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.all)
}

// over says that the session has ended.
func (t *tape) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.outcome != ""
}

// everything is one kind's stream of all sessions.
func (t *tapes) everything(kind interceptor.TapeKind) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, one := range t.all {
		b.WriteString(one.stream(kind))
	}
	return b.String()
}

// asker answers every ask with what the test put into its channel.
type asker struct {
	answers chan flow.AskState
	mu      sync.Mutex
	asked   []*flow.Request
}

// seen gives the requests people were asked about.
func (a *asker) seen() []*flow.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]*flow.Request(nil), a.asked...)
}

// journal remembers what entered the host's log.
type journal struct {
	mu     sync.Mutex
	events []flow.Event
	fails  bool
}

func (j *journal) Log(e flow.Event) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fails {
		return errors.New("no space")
	}
	j.events = append(j.events, e)
	return nil
}

// rules names the rules that denied something, one a line.
func (j *journal) rules() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var b strings.Builder
	for _, e := range j.events {
		if e.Type == flow.RequestDecided && e.Verdict.Verdict == flow.Deny {
			fmt.Fprintln(&b, e.Verdict.Rule)
		}
	}
	return b.String()
}

type oneAsk struct{ answers chan flow.AskState }

func (a *asker) Ask(_ context.Context, _ *flow.Flow, r *flow.Request, _ rules.Decision) (interceptor.Ask, error) {
	a.mu.Lock()
	a.asked = append(a.asked, r)
	a.mu.Unlock()
	return oneAsk{a.answers}, nil
}

func (oneAsk) ID() string { return "ask-7" }

func (a oneAsk) Wait(ctx context.Context) flow.AskState {
	select {
	case s := <-a.answers:
		return s
	case <-ctx.Done():
		return flow.AskState{State: "cancelled"}
	}
}

type origins struct{ to netip.AddrPort }

func (o origins) Origin(syscall.Conn) (flow.Origin, error) {
	return flow.Origin{Destination: o.to, Enrollment: 1}, nil
}

type everybody struct{}

func (everybody) Identity(uint32) (string, bool)           { return "bot", true }
func (everybody) Read(flow.Origin) flow.Process            { return flow.Process{PID: 1} }
func (everybody) Flow(*flow.Flow, int)                     {}
func (everybody) Request(_, _ string, _ flow.Verdict)      {}
func (everybody) Bytes(string, interceptor.Direction, int) {}
func (everybody) Masked(_, _ string, _ int)                {}
func (everybody) Recorded(time.Duration)                   {}
func (everybody) Refused(string)                           {}
