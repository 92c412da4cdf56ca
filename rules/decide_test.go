package rules

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// input is a request by billing-bot on the policy's first target.
func input(t testing.TB, p *Policy, request flow.Request) Input {
	t.Helper()
	target := p.Targets()[0]
	id := p.Identities()[0].Identity
	if request.Kind == "" {
		request.Kind = flow.KindQuery
	}
	request.Protocol = target.Protocol
	return Input{Identity: &id, Target: target, Request: &request, Now: noon,
		Flow: &flow.Flow{ID: "f1", Identity: id.Name, Destination: netip.MustParseAddrPort("10.0.0.7:5432"),
			Process: flow.Process{PID: 7, Exe: "/usr/bin/psql", Argv: []string{"psql"}}}}
}

func does(actions ...string) flow.Request {
	var r flow.Request
	for _, a := range actions {
		r.Effects = append(r.Effects, flow.Effect{Action: a, Object: "public.users"})
	}
	return r
}

func TestDecideTheContractsExample(t *testing.T) {
	p := parse(t, example)
	bounded := flow.Request{Effects: []flow.Effect{{Action: flow.Delete, Bounded: true}}}
	for _, c := range []struct {
		name    string
		request flow.Request
		want    flow.Verdict
		rule    string
	}{
		{"reading is allowed", does(flow.Read), flow.Allow, ""},
		{"drop is held", does(flow.Read, flow.Drop), flow.Hold, "destructive-needs-a-person"},
		{"unbounded delete is held", does(flow.Delete), flow.Hold, "destructive-needs-a-person"},
		{"bounded delete is allowed", bounded, flow.Allow, ""},
		{"a shell is denied", does(flow.ExecuteHost), flow.Deny, "no-shell"},
		{"what is not understood meets the strictest rule", does(flow.Unknown), flow.Deny, "no-shell"},
		{"an action nobody knows too", does("frobnicate"), flow.Deny, "no-shell"},
		{"a function call is denied", flow.Request{Kind: flow.KindFunctionCall}, flow.Deny, "no-shell"},
		{"replication is denied", flow.Request{Kind: flow.KindReplication}, flow.Deny, ""},
		{"a kind nobody knows is denied", flow.Request{Kind: "telepathy"}, flow.Deny, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := p.Decide(input(t, p, c.request))
			if got.Verdict != c.want || got.Rule != c.rule {
				t.Errorf("got %s by %q, want %s by %q", got.Verdict, got.Rule, c.want, c.rule)
			}
			if !got.Timeless {
				t.Error("the decision is timeless, and does not say so")
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	p := parse(b, example)
	in := input(b, p, does(flow.Read))
	b.ReportAllocs()
	for b.Loop() {
		if p.Decide(in).Verdict != flow.Allow {
			b.Fatal("not allowed")
		}
	}
}

func TestOnePolicyServesManyAtOnce(t *testing.T) {
	p := parse(t, example)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for i := range 200 {
				want, request := flow.Allow, does(flow.Read)
				if i%3 == 0 {
					want, request = flow.Deny, does(flow.Unknown)
				}
				if d := p.Decide(input(t, p, request)); d.Verdict != want {
					t.Errorf("got %s, want %s", d.Verdict, want)
				}
			}
		})
	}
	wait.Wait()
}
