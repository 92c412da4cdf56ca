package approval

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

type log struct {
	mu     sync.Mutex
	events []flow.Event
	fail   error
}

func (l *log) Log(e flow.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	l.events = append(l.events, e)
	return nil
}

func (l *log) break_(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

func (l *log) types() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, e := range l.events {
		all = append(all, e.Type+"/"+e.Ask.State)
	}
	return strings.Join(all, " ")
}

type groups map[string][]string

func (g groups) Members(name string) ([]string, bool) {
	m, ok := g[name]
	return m, ok
}

var (
	team  = groups{"dba": {"alice", "bob"}}
	alice = Person{UID: 1001, Name: "alice"}
	bob   = Person{UID: 1002, Name: "bob"}
	eve   = Person{UID: 1666, Name: "eve"}
	root  = Person{UID: 0, Name: "root"}
)

func open(t *testing.T, dir string, j Journal, l Limits) *Desk {
	t.Helper()
	d, err := Open(dir, j, team, time.Now, l)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func held(id, identity, fingerprint string) (*flow.Flow, *flow.Request, rules.Decision) {
	return &flow.Flow{ID: id, Identity: identity, Target: "orders", Process: flow.Process{PID: 7, UID: 1500}},
		&flow.Request{ID: 1, Protocol: "postgres", Kind: flow.KindQuery, Text: "DROP TABLE t", Fingerprint: fingerprint},
		rules.Decision{Verdict: flow.Hold, Rule: "destructive", Approvers: []string{"dba"}, Timeout: time.Minute}
}

func ask(t *testing.T, d *Desk, id, identity, fingerprint string) *Ask {
	t.Helper()
	f, r, dec := held(id, identity, fingerprint)
	a, err := d.Ask(t.Context(), f, r, dec)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func decide(t *testing.T, d *Desk, id string, approve bool, by Person, scope string) {
	t.Helper()
	s, err := ParseScope(scope)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Decide(id, approve, by, s, "because"); err != nil {
		t.Fatal(err)
	}
}

func TestAskIsOnDiskAndJournalledBeforeItIsKnown(t *testing.T) {
	dir, j := t.TempDir(), &log{}
	d := open(t, dir, j, Limits{})
	a := ask(t, d, "f1", "bot", "fp")
	if !validID(a.ID()) {
		t.Errorf("id %q is not one", a.ID())
	}
	if _, err := os.Stat(filepath.Join(dir, a.ID()+".json")); err != nil {
		t.Error(err)
	}
	if j.types() != "ask.opened/pending" {
		t.Errorf("journal: %s", j.types())
	}
}

func TestAskIsRefusedWhenItCannotBeRecorded(t *testing.T) {
	dir, j := t.TempDir(), &log{fail: errors.New("disk full")}
	d := open(t, dir, j, Limits{})
	f, r, dec := held("f1", "bot", "fp")
	if _, err := d.Ask(t.Context(), f, r, dec); !errors.Is(err, ErrUnkept) || strings.Contains(err.Error(), "disk") {
		t.Fatalf("an ask without a record: %v", err)
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) != 0 || len(d.List("")) != 0 {
		t.Errorf("left behind: %v, %v", left, d.List(""))
	}
}

func TestOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		act   func(t *testing.T, d *Desk, id string, cancel func())
		state string
		by    string
	}{
		"approved":  {func(t *testing.T, d *Desk, id string, _ func()) { decide(t, d, id, true, alice, "") }, Approved, "alice"},
		"denied":    {func(t *testing.T, d *Desk, id string, _ func()) { decide(t, d, id, false, bob, "") }, Denied, "bob"},
		"by root":   {func(t *testing.T, d *Desk, id string, _ func()) { decide(t, d, id, true, root, "") }, Approved, "root (administrator)"},
		"expired":   {func(*testing.T, *Desk, string, func()) {}, Expired, ""},
		"cancelled": {func(_ *testing.T, _ *Desk, _ string, cancel func()) { cancel() }, Cancelled, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				j := &log{}
				d := open(t, dir, j, Limits{})
				a := ask(t, d, "f1", "bot", "fp")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				got := make(chan flow.AskState)
				go func() { got <- a.Wait(ctx) }()
				synctest.Wait()
				c.act(t, d, a.ID(), cancel)
				state := <-got
				if state.State != c.state || state.By != c.by {
					t.Errorf("state %+v", state)
				}
				if want := "ask.opened/pending ask.resolved/" + c.state; j.types() != want {
					t.Errorf("journal %s, want %s", j.types(), want)
				}
				if err := d.Decide(a.ID(), true, root, Scope{}, ""); !errors.Is(err, ErrResolved) {
					t.Errorf("a second decision: %v", err)
				}
			})
		})
	}
}

func TestWhoMayDecide(t *testing.T) {
	d := open(t, t.TempDir(), &log{}, Limits{})
	a := ask(t, d, "f1", "bot", "fp")
	for name, c := range map[string]struct {
		by   Person
		want error
	}{
		"a stranger":                 {eve, ErrNotApprover},
		"no name":                    {Person{UID: 4242}, ErrNotApprover},
		"the group's own name":       {Person{UID: 4243, Name: "dba"}, ErrNotApprover},
		"the user who asks":          {Person{UID: 1500, Name: "alice"}, ErrOwnRequest},
		"somebody for another's ask": {Person{UID: 1500, Name: "svc"}, ErrOwnRequest},
	} {
		if err := d.Decide(a.ID(), true, c.by, Scope{}, ""); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := d.Decide("r-000000", true, alice, Scope{}, ""); !errors.Is(err, ErrUnknown) {
		t.Errorf("unknown: %v", err)
	}
	if v, _ := d.Show(a.ID()); v.State != Pending {
		t.Errorf("refused decisions changed the ask: %+v", v)
	}
}

func TestApprovalDoesNotCountUnrecorded(t *testing.T) {
	dir, j := t.TempDir(), &log{}
	d := open(t, dir, j, Limits{})
	a := ask(t, d, "f1", "bot", "fp")
	j.break_(errors.New("disk full"))
	if err := d.Decide(a.ID(), true, alice, Scope{For: time.Hour}, ""); !errors.Is(err, ErrNotRecorded) {
		t.Fatalf("got %v", err)
	}
	if v, _ := d.Show(a.ID()); v.State != Pending {
		t.Errorf("state %s", v.State)
	}
	if err := d.Decide(a.ID(), false, alice, Scope{}, ""); err == nil {
		t.Error("a denial that is not recorded is not said to be")
	}
	if v, _ := d.Show(a.ID()); v.State != Denied {
		t.Errorf("a denial must take effect, state %s", v.State)
	}
	j.break_(nil)
	again := open(t, dir, j, Limits{})
	if len(again.covers) != 0 {
		t.Error("the approval that did not count stands after a restart")
	}
}

func TestPendingAsksAreDeniedAfterARestart(t *testing.T) {
	dir, j := t.TempDir(), &log{}
	a := ask(t, open(t, dir, j, Limits{}), "f1", "bot", "fp")
	d := open(t, dir, j, Limits{})
	v, err := d.Show(a.ID())
	if err != nil || v.State != Denied || v.Reason != "answered by nobody: the daemon restarted" {
		t.Errorf("%+v, %v", v, err)
	}
	if j.types() != "ask.opened/pending ask.resolved/denied" {
		t.Errorf("journal: %s", j.types())
	}
	if b := ask(t, d, "f2", "bot", "fp"); b.ID() == a.ID() {
		t.Error("nobody's denial sticks")
	}
	j.break_(errors.New("disk full"))
	if _, err := Open(dir, j, team, time.Now, Limits{}); err == nil {
		t.Error("a desk opened that could not journal")
	}
}
