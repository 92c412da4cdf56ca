package approval

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

func TestOnceIsOnce(t *testing.T) {
	d := open(t, t.TempDir(), &log{}, Limits{})
	a := ask(t, d, "f1", "bot", "fp")
	decide(t, d, a.ID(), true, alice, "once")
	if b := ask(t, d, "f1", "bot", "fp"); b.ID() == a.ID() || b.state().State != Pending {
		t.Error("an approval for once was used twice")
	}
}

func TestScopesCoverWhatTheySay(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		j := &log{}
		d := open(t, dir, j, Limits{})
		session := ask(t, d, "f1", "bot", "fp")
		decide(t, d, session.ID(), true, alice, "session")
		hour := ask(t, d, "f1", "bot", "long")
		decide(t, d, hour.ID(), true, alice, "1h")
		covered := func(id, identity, fingerprint string) bool {
			a := ask(t, d, id, identity, fingerprint)
			return a.state().State == Approved
		}
		if !covered("f1", "bot", "fp") || !covered("f1", "bot", "long") || !covered("f2", "bot", "long") {
			t.Error("not covered")
		}
		if covered("f2", "bot", "fp") || covered("f1", "other", "long") || covered("f1", "bot", "else") {
			t.Error("covered too much")
		}
		d = open(t, dir, j, Limits{}) // a restart keeps the hour and not the session
		if !covered("f3", "bot", "long") || covered("f1", "bot", "fp") {
			t.Error("after a restart")
		}
		time.Sleep(time.Hour)
		if covered("f4", "bot", "long") {
			t.Error("covered after its time")
		}
	})
}

func TestPeopleSeeWhichServer(t *testing.T) {
	d := open(t, t.TempDir(), &log{}, Limits{})
	f, r, dec := held("f1", "bot", "fp")
	f.Destination = netip.MustParseAddrPort("10.0.0.2:5432")
	a, err := d.Ask(t.Context(), f, r, dec)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := d.Show(a.ID()); err != nil || v.Destination != f.Destination {
		t.Errorf("shown as to %s (%v)", v.Destination, err)
	}
}

func TestCoverIsForTheSameQuestionOnly(t *testing.T) {
	d := open(t, t.TempDir(), &log{}, Limits{})
	decide(t, d, ask(t, d, "f1", "bot", "fp").ID(), true, alice, "1h")
	f, r, dec := held("f1", "bot", "fp")
	changes := []func(){
		func() { f.Process.UID = alice.UID }, // or alice would approve her own
		func() { f.Process.UID, dec.Rule = 1500, "needs-dpo" },
		func() { dec.Rule, dec.Approvers = "destructive", []string{"dpo"} },
		func() { dec.Approvers, r.User = []string{"dba"}, "postgres" },
		func() { r.User, r.Database = "", "prod" },
		func() { r.Database, r.Effects = "", []flow.Effect{{Action: flow.Drop, Object: "secret.t"}} },
		func() { r.Effects, f.Target = nil, "billing" },
		func() { f.Target, f.Destination = "orders", netip.MustParseAddrPort("10.0.0.2:5432") }, // a target may be many servers
		func() { f.Destination, r.Fingerprint = netip.AddrPort{}, "" },
	}
	for i, change := range changes {
		change()
		a, err := d.Ask(t.Context(), f, r, dec)
		if err != nil {
			t.Fatal(err)
		}
		if a.state().State != Pending {
			t.Errorf("change %d was covered by another question's answer", i)
		}
	}
}

func TestForgottenFlowIsAskedAgain(t *testing.T) {
	d := open(t, t.TempDir(), &log{}, Limits{})
	decide(t, d, ask(t, d, "f1", "bot", "fp").ID(), true, alice, "session")
	d.Forget("f2")
	if ask(t, d, "f1", "bot", "fp").state().State != Approved {
		t.Error("another flow's end forgot it")
	}
	d.Forget("f1")
	if ask(t, d, "f1", "bot", "fp").state().State != Pending {
		t.Error("still covered")
	}
}

func TestDenialSticks(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := open(t, dir, &log{}, Limits{StickyDeny: 3 * time.Minute})
		a := ask(t, d, "f1", "bot", "fp")
		decide(t, d, a.ID(), false, alice, "")
		again := ask(t, d, "f2", "bot", "fp")
		if again.ID() != a.ID() || again.Wait(t.Context()).State != Denied {
			t.Error("people were asked again at once")
		}
		time.Sleep(3 * time.Minute)
		if ask(t, d, "f2", "bot", "fp").ID() == a.ID() {
			t.Error("denied for ever")
		}
	})
}

func TestAlikeAsksAreAnsweredTogether(t *testing.T) {
	d := open(t, t.TempDir(), &log{}, Limits{})
	one, two, other := ask(t, d, "f1", "bot", "fp"), ask(t, d, "f2", "bot", "fp"), ask(t, d, "f2", "bot", "else")
	for _, v := range d.List(Pending) {
		if want := map[bool]int{true: 0, false: 1}[v.ID == other.ID()]; v.Alike != want {
			t.Errorf("%s: alike %d", v.ID, v.Alike)
		}
	}
	decide(t, d, one.ID(), true, alice, "once")
	if two.state().State != Pending {
		t.Error("an approval for once approved two")
	}
	three := ask(t, d, "f3", "bot", "fp")
	decide(t, d, two.ID(), true, alice, "1h")
	if three.state().State != Approved || other.state().State != Pending {
		t.Errorf("%s, %s", three.state().State, other.state().State)
	}
}

func TestFatigueIsBounded(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := open(t, dir, &log{}, Limits{PendingPerIdentity: 3, PendingTotal: 5, PerMinute: 6})
		try := func(identity, fingerprint string) error {
			f, r, dec := held("f", identity, fingerprint)
			_, err := d.Ask(t.Context(), f, r, dec)
			return err
		}
		for i := range 3 {
			if err := try("bot", fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := try("bot", "x"); !errors.Is(err, ErrTooMany) {
			t.Errorf("a fourth: %v", err)
		}
		if err := errors.Join(try("b2", "1"), try("b2", "2")); err != nil {
			t.Fatal(err)
		}
		if err := try("b3", "1"); !errors.Is(err, ErrFull) {
			t.Errorf("a sixth on the host: %v", err)
		}
		for _, v := range d.List(Pending) { // cancelling does not buy more
			d.end(d.asks[v.ID], outcome{state: Cancelled})
		}
		for i := range 3 {
			if err := try("bot", fmt.Sprint("y", i)); err != nil {
				t.Fatal(err)
			}
			d.end(d.asks[d.List(Pending)[0].ID], outcome{state: Cancelled})
		}
		if err := try("bot", "z"); !errors.Is(err, ErrTooFast) {
			t.Errorf("a seventh in a minute: %v", err)
		}
		time.Sleep(time.Minute)
		if err := try("bot", "z"); err != nil {
			t.Errorf("a minute later: %v", err)
		}
	})
}

func TestAskNobodyWaitsForExpires(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := open(t, dir, &log{}, Limits{})
		a := ask(t, d, "f1", "bot", "fp")
		time.Sleep(time.Minute + time.Second)
		if err := d.Decide(a.ID(), true, alice, Scope{}, ""); !errors.Is(err, ErrResolved) {
			t.Errorf("approved after its time: %v", err)
		}
		b := ask(t, d, "f1", "bot", "fp")
		time.Sleep(time.Minute + time.Second)
		ask(t, d, "f1", "bot", "other")
		if b.state().State != Expired {
			t.Errorf("state %s", b.state().State)
		}
	})
}

func TestLongRequestsAreNotPutToPeople(t *testing.T) {
	d := open(t, t.TempDir(), &log{}, Limits{})
	f, r, dec := held("f", "bot", "fp")
	r.Text = strings.Repeat("x", longestText+1)
	if _, err := d.Ask(t.Context(), f, r, dec); !errors.Is(err, ErrTooLong) {
		t.Errorf("got %v", err)
	}
	r.Text = strings.Repeat("é", 3000)
	a, err := d.Ask(t.Context(), f, r, dec)
	if err != nil {
		t.Fatal(err)
	}
	short, whole := d.List("")[0], d.view(a)
	if len(short.Request.Text) > shortText || short.TextBytes != 6000 || len(whole.Request.Text) != 6000 {
		t.Errorf("%d of %d, %d", len(short.Request.Text), short.TextBytes, len(whole.Request.Text))
	}
}

func TestHeadersAreNotKept(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, &log{}, Limits{})
	f, r, dec := held("f", "bot", "fp")
	r.HTTP = &flow.HTTP{Method: "POST", Headers: map[string][]string{"authorization": {"Bearer s3cret"}}}
	a, err := d.Ask(t.Context(), f, r, dec)
	if err != nil {
		t.Fatal(err)
	}
	if d.view(a).Request.HTTP.Headers != nil || r.HTTP.Headers == nil {
		t.Error("headers")
	}
}

func TestOldAsksAreForgotten(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := open(t, dir, &log{}, Limits{KeepAtMost: 3, Keep: time.Hour})
		long := ask(t, d, "f", "bot", "long")
		decide(t, d, long.ID(), true, alice, "12h")
		for i := range 6 {
			decide(t, d, ask(t, d, "f", "bot", fmt.Sprint(i)).ID(), false, alice, "")
			time.Sleep(time.Second)
		}
		ask(t, d, "f", "bot", "new")
		if n := len(d.List(Denied)); n != 3 {
			t.Errorf("%d kept", n)
		}
		time.Sleep(2 * time.Hour)
		ask(t, d, "f", "bot", "newer")
		if len(d.List(Denied)) != 0 || len(d.List(Approved)) != 1 {
			t.Errorf("%+v", d.Counts())
		}
		left, err := d.shelf.all()
		if err != nil || len(left) != len(d.List("")) {
			t.Errorf("%d files for %d asks, %v", len(left), len(d.List("")), err)
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	d := open(t, t.TempDir(), &log{}, Limits{PendingPerIdentity: 100, PerMinute: 1000})
	watch := d.Watch()
	defer watch.Stop()
	var all sync.WaitGroup
	for i := range 24 {
		all.Go(func() {
			f, r, dec := held(fmt.Sprint("f", i), "bot", fmt.Sprint(i%4))
			a, err := d.Ask(t.Context(), f, r, dec)
			if err != nil {
				t.Error(err)
				return
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var deciders sync.WaitGroup
			deciders.Go(func() { _ = d.Decide(a.ID(), i%2 == 0, alice, Scope{For: time.Second}, "") })
			if i%3 == 0 {
				deciders.Go(cancel)
			}
			if got := a.Wait(ctx).State; got == Pending {
				t.Error("Wait returned a pending ask")
			}
			_ = d.List("")
			_ = d.Counts()
			deciders.Wait()
		})
	}
	all.Wait()
	if n := len(d.List(Pending)); n != 0 {
		t.Errorf("%d still pending", n)
	}
}

func TestCloseCancelsWhoWaits(t *testing.T) {
	d := open(t, t.TempDir(), &log{}, Limits{})
	a, w := ask(t, d, "f", "bot", "fp"), d.Watch()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if a.Wait(t.Context()).State != Cancelled {
		t.Error("not cancelled")
	}
	for range w.Changes() {
	}
}

func TestIDsAreTakenAsPeopleTypeThem(t *testing.T) {
	d := open(t, t.TempDir(), &log{}, Limits{})
	a := ask(t, d, "f", "bot", "fp")
	typed := strings.ToUpper(strings.NewReplacer("0", "o", "1", "l").Replace(strings.TrimPrefix(a.ID(), "r-")))
	if v, err := d.Show("R-" + typed); err != nil || v.ID != a.ID() {
		t.Errorf("%s: %+v, %v", typed, v, err)
	}
}

func TestParseScope(t *testing.T) {
	for text, want := range map[string]string{"": "once", "once": "once", "session": "session", "30m": "30m0s"} {
		if s, err := ParseScope(text); err != nil || s.String() != want {
			t.Errorf("%q: %s, %v", text, s, err)
		}
	}
	for _, text := range []string{"always", "-1h", "0", "500ms", "1d", "once "} {
		if _, err := ParseScope(text); !errors.Is(err, ErrBadScope) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
