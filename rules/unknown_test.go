package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// law is a policy of these rules, written as YAML flow mappings, on one postgres target.
func law(t testing.TB, rules ...string) *Policy {
	t.Helper()
	text := `
people: [{name: dba, members: [alice]}]
identities: [{name: bot, labels: {env: prod}}]
targets: [{name: orders, protocol: postgres, addresses: ["10.0.0.1:5432"]}]
grants: [{identity: bot, target: orders}]
`
	if len(rules) > 0 {
		text += "rules:\n"
	}
	for i, u := range rules {
		text += fmt.Sprintf("  - {name: r%d, target: orders, %s}\n", i, u)
	}
	return parse(t, text)
}

func some(action string) string {
	return fmt.Sprintf(`when: 'request.effects.exists(e, e.action == "%s")'`, action)
}

func TestWhatIsNotKnownIsTheWorstItCouldBe(t *testing.T) {
	unknown := does(flow.Read, flow.Unknown)
	allowReads := `when: 'request.effects.all(e, e.action == "read")', verdict: allow`
	for _, c := range []struct {
		name  string
		rules []string
		want  flow.Verdict
		by    string
	}{
		{"no rule, no objection", nil, flow.Allow, ""},
		{"a deny may mean it", []string{some("drop") + ", verdict: deny"}, flow.Deny, "r0"},
		{"a negation may mean it", []string{`when: '!request.effects.exists(e, e.action == "read" && e.name == "x")', verdict: hold, approvers: [dba]`}, flow.Hold, "r0"},
		{"a warn does not hide a deny", []string{some("create") + ", verdict: warn", some("drop") + ", verdict: deny"}, flow.Deny, "r1"},
		{"a hold does not hide a deny", []string{some("drop") + ", verdict: hold, approvers: [dba]", some("alter") + ", verdict: deny"}, flow.Deny, "r1"},
		{"a warn alone warns", []string{some("create") + ", verdict: warn"}, flow.Warn, "r0"},
		{"an allow that may mean it does not open", []string{some("drop") + ", verdict: allow", some("alter") + ", verdict: deny"}, flow.Deny, "r1"},
		{"all reads is not said of it", []string{allowReads, "verdict: deny"}, flow.Deny, "r1"},
		{"an unconditional allow does open", []string{"verdict: allow"}, flow.Allow, "r0"},
		{"a rule on unknown speaks first", []string{some("unknown") + ", verdict: hold, approvers: [dba]", some("drop") + ", verdict: deny"}, flow.Hold, "r0"},
		{"even to allow", []string{some("unknown") + ", verdict: allow", some("drop") + ", verdict: deny"}, flow.Allow, "r0"},
		{"objects are unknown too", []string{`when: 'request.effects.exists(e, e.object in ["public.pay", "pay"])', verdict: deny`}, flow.Deny, "r0"},
		{"and columns", []string{`when: 'request.effects.exists(e, "pan" in e.columns)', verdict: deny`}, flow.Deny, "r0"},
		{"and columns one by one", []string{`when: 'request.effects.exists(e, e.columns.exists(c, c == "pan"))', verdict: deny`}, flow.Deny, "r0"},
		{"and bounds", []string{`when: 'request.effects.exists(e, e.action in ["update"] && !e.bounded)', verdict: deny`}, flow.Deny, "r0"},
		{"and in lists", []string{`when: 'request.effects.map(e, e.action).exists(a, a == "drop")', verdict: deny`}, flow.Deny, "r0"},
		{"and filtered", []string{`when: 'request.effects.filter(e, e.action == "drop").size() > 0', verdict: deny`}, flow.Deny, "r0"},
		{"exactly one", []string{`when: 'request.effects.exists_one(e, e.action == "drop")', verdict: deny`}, flow.Deny, "r0"},
		{"indexed", []string{`when: 'request.effects[1].action == "drop"', verdict: deny`}, flow.Deny, "r0"},
		{"by a conditional", []string{`when: 'request.effects[1].bounded ? false : true', verdict: deny`}, flow.Deny, "r0"},
		{"by a regular expression", []string{`when: 'request.effects.exists(e, e.object.matches("^public"))', verdict: deny`}, flow.Deny, "r0"},
		{"by a computed expression", []string{`when: 'request.effects.exists(e, e.object.matches(identity.name))', verdict: deny`}, flow.Deny, "r0"},
		{"by its start", []string{`when: 'request.effects.exists(e, e.object.startsWith("public."))', verdict: deny`}, flow.Deny, "r0"},
		{"by arithmetic", []string{`when: 'request.effects.exists(e, e.action + "x" == "dropx" || size(e.columns) > 7)', verdict: deny`}, flow.Deny, "r0"},
		{"in a map", []string{`when: 'request.effects.exists(e, {"drop": true}[e.action])', verdict: deny`}, flow.Deny, "r0"},
		{"by a list of its own", []string{`when: 'request.effects.exists(e, [e.action, "x"].exists(a, a == "drop"))', verdict: deny`}, flow.Deny, "r0"},
		{"by what is not equal", []string{`when: 'request.effects.exists(e, e.via != "")', verdict: deny`}, flow.Deny, "r0"},
		{"what is known stays known", []string{`when: 'request.text == "x" && request.effects.exists(e, e.action == "drop")', verdict: deny`}, flow.Allow, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := law(t, c.rules...)
			if d := p.Decide(input(t, p, unknown)); d.Verdict != c.want || d.Rule != c.by {
				t.Errorf("got %s by %q, want %s by %q", d.Verdict, d.Rule, c.want, c.by)
			}
		})
	}
}

func TestColumnsThatAreNotNamedMayBeAll(t *testing.T) {
	p := law(t, `when: 'request.effects.exists(e, e.name == "users" && "ssn" in e.columns)', verdict: deny`)
	for _, c := range []struct {
		name   string
		effect flow.Effect
		want   flow.Verdict
	}{
		{"all", flow.Effect{Action: flow.Read, Object: "users"}, flow.Deny},
		{"named", flow.Effect{Action: flow.Read, Object: "public.users", Columns: []string{"id", "ssn"}}, flow.Deny},
		{"others", flow.Effect{Action: flow.Read, Object: "public.users", Columns: []string{"id"}}, flow.Allow},
		{"none", flow.Effect{Action: flow.Read, Object: "public.users", Columns: []string{}}, flow.Allow},
		{"another table", flow.Effect{Action: flow.Read, Object: "public.orders"}, flow.Allow},
		{"no table", flow.Effect{Action: flow.Transaction}, flow.Allow},
	} {
		if d := p.Decide(input(t, p, flow.Request{Effects: []flow.Effect{c.effect}})); d.Verdict != c.want {
			t.Errorf("%s: %s", c.name, d.Verdict)
		}
	}
}

func TestLastPart(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "users": "users", "public.users": "users", "a.b.c": "c", `public."a.b"`: "a.b", `"a.b"`: "a.b", `"x"".y".z`: "z", `s."a""b.c"`: `a"b.c`, `"`: `"`, `"""`: `"""`,
	} {
		if got := lastPart(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestClosedKindsAreOpenedByNameOnly(t *testing.T) {
	call, replication := flow.Request{Kind: flow.KindFunctionCall, Function: 1598}, flow.Request{Kind: flow.KindReplication}
	for _, c := range []struct {
		name    string
		request flow.Request
		rule    string
		want    flow.Verdict
	}{
		{"not by allowing everything", call, "verdict: allow", flow.Deny},
		{"not by warning of everything", replication, "verdict: warn", flow.Deny},
		{"not by what has no effects", call, `when: '!request.effects.exists(e, e.action == "drop")', verdict: allow`, flow.Deny},
		{"by its kind", replication, `when: 'request.kind == "replication"', verdict: allow`, flow.Allow},
		{"by its number", call, `when: 'request.function == 1598', verdict: warn`, flow.Warn},
		{"not by another number", call, `when: 'request.function == 1', verdict: warn`, flow.Deny},
		{"by a person", replication, "verdict: hold, approvers: [dba]", flow.Hold},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := law(t, c.rule)
			if d := p.Decide(input(t, p, c.request)); d.Verdict != c.want {
				t.Errorf("got %s, want %s", d.Verdict, c.want)
			}
		})
	}
}

func TestWhatFailsIsDenied(t *testing.T) {
	many := flow.Request{Effects: make([]flow.Effect, 3000)}
	for i := range many.Effects {
		many.Effects[i].Action = flow.Read
	}
	for _, c := range []struct {
		name, rule string
		request    flow.Request
	}{
		{"an index out of range", `when: 'request.effects[7].bounded', verdict: allow`, does(flow.Read)},
		{"a division by nothing", `when: '1 / request.effects.size() > 7', verdict: allow`, flow.Request{}},
		{"an argument that is not there", `when: 'process.argv[3] == "x"', verdict: warn`, does(flow.Read)},
		{"too much work", `when: 'request.effects.exists(a, request.effects.exists(b, a.object != b.object))', verdict: allow`, many},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := law(t, c.rule)
			d := p.Decide(input(t, p, c.request))
			if d.Verdict != flow.Deny || d.Rule != "r0" || d.Timeless || !strings.Contains(d.Message, "could not be evaluated") {
				t.Errorf("got %+v", d)
			}
		})
	}
}

func TestNobodyIsDenied(t *testing.T) {
	p := law(t, "verdict: allow")
	full := input(t, p, does(flow.Read))
	for name, in := range map[string]Input{
		"no identity":                        {Target: full.Target, Request: full.Request},
		"no target":                          {Identity: full.Identity, Request: full.Request},
		"no request":                         {Identity: full.Identity, Target: full.Target},
		"nothing":                            {},
		"an identity the policy has no more": {Identity: &flow.Identity{Name: "gone"}, Target: full.Target, Request: full.Request},
		"a target the policy has no more":    {Identity: full.Identity, Target: &Target{Name: "gone"}, Request: full.Request},
		"a flow without target":              {Identity: full.Identity, Target: &Target{}, Request: full.Request},
	} {
		if d := p.Decide(in); d.Verdict != flow.Deny {
			t.Errorf("%s: %s", name, d.Verdict)
		}
	}
	if d := law(t).Decide(full); d.Verdict != flow.Allow {
		t.Errorf("the target of an older policy: %+v", d)
	}
}

func TestWhoLosesHisGrantIsDenied(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       flow.Verdict
	}{
		{"grant", "grants: [{identity: bot, target: orders}]\n", flow.Allow},
		{"no grant", "", flow.Deny},
		{"expired", "grants: [{identity: late, target: orders}]\nidentities: [{name: late, expires: 2020-01-01}]\n", flow.Deny},
		{"not expired", "grants: [{identity: late, target: orders}]\nidentities: [{name: late, expires: 2030-01-01}]\n", flow.Allow},
	} {
		name := "bot"
		text := c.text
		if !strings.Contains(text, "identities") {
			text += "identities: [{name: bot}]\n"
		} else {
			name = "late"
		}
		p := parse(t, text+"targets: [{name: orders, protocol: postgres, addresses: ['10.0.0.1:5432']}]\n")
		r := does(flow.Read)
		r.Kind = flow.KindQuery
		d := p.Decide(Input{Identity: &flow.Identity{Name: name}, Target: p.Targets()[0], Request: &r, Now: noon})
		if d.Verdict != c.want {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}

func TestFlowsWithoutTargetFollowTheDefault(t *testing.T) {
	for fallback, want := range map[Default]flow.Verdict{DefaultDeny: flow.Deny, DefaultObserve: flow.Allow, DefaultAllow: flow.Allow} {
		p := parse(t, "identities: [{name: bot, default: "+string(fallback)+"}]")
		d := p.Decide(Input{Identity: &flow.Identity{Name: "bot"}, Target: &Target{}, Request: &flow.Request{Kind: flow.KindConnect}, Now: noon})
		if d.Verdict != want {
			t.Errorf("%s: %s", fallback, d.Verdict)
		}
	}
}

func TestTimeless(t *testing.T) {
	for _, c := range []struct {
		when string
		want bool
	}{
		{`identity.name != "bot" || target.name != "orders" || request.text == "x" || request.kind == "replication"`, true},
		{`identity.labels.env == "x"`, true},
		{`request.effects.exists(e, e.bounded && e.name == "x" && e.via == "cte" && "c" in e.columns)`, true},
		{`now > timestamp("2030-01-01T00:00:00Z")`, false},
		{`process.uid == 1`, false},
		{`flow.port == 1`, false},
		{`request.id == 1`, false},
		{`request.user == "x"`, false},
		{`request.database == "x"`, false},
		{`process.ancestors.exists(a, a.exe == "x")`, false},
	} {
		p := law(t, fmt.Sprintf("when: '%s', verdict: deny", c.when))
		if d := p.Decide(input(t, p, does(flow.Read))); d.Timeless != c.want || d.Verdict != flow.Allow {
			t.Errorf("%s: %+v", c.when, d)
		}
	}
	p := law(t, some("read")+", verdict: warn", `when: 'now == now', verdict: deny`)
	if d := p.Decide(input(t, p, does(flow.Read))); !d.Timeless || d.Rule != "r0" {
		t.Errorf("a rule that was not reached took the time: %+v", d)
	}
}

func TestDecisionCarriesTheRule(t *testing.T) {
	p := law(t, `verdict: hold, approvers: [dba], timeout: 1d, durability: disk, message: ask`)
	d := p.Decide(input(t, p, does(flow.Read)))
	if d.Timeout != 24*time.Hour || !d.Durable || d.Message != "ask" || len(d.Approvers) != 1 || d.Approvers[0] != "dba" {
		t.Errorf("%+v", d)
	}
}

func TestConditionsSeeTheProcess(t *testing.T) {
	for _, when := range []string{
		`process.exe == "/usr/bin/psql" && process.argv[0] == "psql"`, `flow.port == 5432 && flow.address == "10.0.0.7"`,
		`now.getHours("Europe/Berlin") == 13`, `request.text.matches("(?i)^select")`, `request.user == "app" && request.database == "shop"`,
		`process.ancestors.exists(a, a.exe == "/bin/sh" && a.pid == 3)`, `!has(request.http)`, `flow.opened < now`,
	} {
		p := law(t, fmt.Sprintf("when: '%s', verdict: warn", when))
		in := input(t, p, flow.Request{Text: "SELECT 1", User: "app", Database: "shop"})
		in.Flow.Process.Ancestors = []flow.Ancestor{{PID: 3, Exe: "/bin/sh"}}
		if d := p.Decide(in); d.Verdict != flow.Warn {
			t.Errorf("%s: %+v", when, d)
		}
	}
}

func TestHTTPHeaders(t *testing.T) {
	for _, c := range []struct {
		when string
		want flow.Verdict
	}{
		{`"bad" in request.http.headers["X-Tag"]`, flow.Deny},
		{`"bad" in request.http.headers["x-tag"]`, flow.Deny},
		{`"x-tag" in request.http.headers && "X-TAG" in request.http.headers`, flow.Deny},
		{`"a" in request.http.headers["absent"]`, flow.Allow},
		{`"absent" in request.http.headers`, flow.Allow},
		{`request.http.headers.exists(name, name == "x-tag")`, flow.Deny},
		{`request.http.method == "POST" && request.http.path.startsWith("/admin") && request.http.host == "h" && request.http.query == "q=1"`, flow.Deny},
	} {
		p := parse(t, `
identities: [{name: bot}]
targets: [{name: web, protocol: http, addresses: ["10.0.0.1:80"]}]
grants: [{identity: bot, target: web}]
rules: [{name: r0, target: web, verdict: deny, when: '`+c.when+`'}]
`)
		in := input(t, p, flow.Request{Kind: flow.KindHTTP, HTTP: &flow.HTTP{Method: "POST", Host: "h", Path: "/admin/x", Query: "q=1",
			Headers: map[string][]string{"x-tag": {"good", "bad"}}}})
		if d := p.Decide(in); d.Verdict != c.want {
			t.Errorf("%s: %+v", c.when, d)
		}
	}
}
