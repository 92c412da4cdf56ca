package rules

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Fixture is the tests of a policy, as they stand in a *.test.yaml beside it:
//
//	tests:
//	  - name: dropping waits for a person
//	    identity: billing-bot
//	    target: orders
//	    now: 2026-11-23T12:00:00Z             # absent: the time Test is given
//	    process: {exe: /usr/bin/psql, unit: billing.service}
//	    request: {text: DROP TABLE users}     # or effects: [...], or http: {...}
//	    expect:
//	      verdict: hold
//	      rule: destructive-needs-a-person    # "": the default
//	      approvers: [dba]
//	      masked: [public.users.email, "header:set-cookie", "json:$.email", "detect:jwt"]
//	      clear: [public.users.id]
type Fixture struct{ Cases []Case }

// Case is one test of a policy.
type Case struct {
	Name, Identity, Target string
	Now                    time.Time // zero: the time Test is given
	Process                flow.Process
	Request                flow.Request
	Expect                 Expectation
	File                   string
	Line                   int
}

// Expectation is what a case should meet. Nil and empty: it is not looked at.
type Expectation struct {
	Verdict       flow.Verdict
	Rule          *string
	Approvers     []string
	Masked, Clear []string
}

// ParseFixture reads one fixture file. The error is Complaints.
func ParseFixture(file File) (*Fixture, error) {
	l := &ledger{}
	r := &reader{ledger: l, file: file.Name}
	f := &Fixture{}
	if root := r.document(file.Data); root != nil {
		r.mapping(root, "the fixture", field{"tests", r.each("tests", func(n *yaml.Node) {
			f.Cases = append(f.Cases, r.readCase(n))
		})})
	}
	if len(f.Cases) == 0 {
		l.complain(place{file: file.Name}, "a fixture without tests proves nothing", "tests: [..]")
	}
	if err := l.verdict(); err != nil {
		return nil, err
	}
	return f, nil
}

func (r *reader) readCase(n *yaml.Node) Case {
	c := Case{File: r.file, Line: n.Line}
	c.Request.Kind = flow.KindQuery
	var identity, target named
	r.mapping(n, "a test",
		field{"name", r.text(&c.Name)},
		field{"identity", r.name(&identity)},
		field{"target", r.name(&target)},
		field{"now", r.moment(&c.Now)},
		field{"process", func(n *yaml.Node) { r.process(n, &c.Process) }},
		field{"request", func(n *yaml.Node) { r.request(n, &c.Request) }},
		field{"expect", func(n *yaml.Node) { r.expect(n, &c.Expect) }},
	)
	c.Identity, c.Target = identity.string, target.string
	for _, key := range []string{"name", "identity", "target", "request", "expect"} {
		r.needs(n, "a test", key, "")
	}
	return c
}

func (r *reader) process(n *yaml.Node, p *flow.Process) {
	var argv []named
	r.mapping(n, "process",
		field{"exe", r.text(&p.Exe)},
		field{"exe_sha256", r.text(&p.ExeSHA256)},
		field{"unit", r.text(&p.Unit)},
		field{"cgroup", r.text(&p.Cgroup)},
		field{"uid", func(n *yaml.Node) { r.integer(n, &p.UID) }},
		field{"argv", r.texts(&argv)},
	)
	p.Argv = plainTexts(argv)
}

func (r *reader) request(n *yaml.Node, q *flow.Request) {
	r.mapping(n, "request",
		field{"kind", r.word(&q.Kind, "kind", kinds...)},
		field{"text", r.text(&q.Text)},
		field{"user", r.text(&q.User)},
		field{"database", r.text(&q.Database)},
		field{"function", func(n *yaml.Node) { r.integer(n, &q.Function) }},
		field{"effects", r.each("effects", func(n *yaml.Node) { q.Effects = append(q.Effects, r.effect(n)) })},
		field{"http", func(n *yaml.Node) {
			q.Kind, q.HTTP = flow.KindHTTP, r.http(n)
		}},
	)
}

func (r *reader) effect(n *yaml.Node) flow.Effect {
	var e flow.Effect
	var columns []named
	r.mapping(n, "an effect",
		field{"action", r.word(&e.Action, "action", Actions...)},
		field{"object", r.text(&e.Object)},
		field{"columns", r.texts(&columns)},
		field{"bounded", r.truth(&e.Bounded)},
		field{"via", r.text(&e.Via)},
	)
	r.needs(n, "an effect", "action", e.Action)
	e.Columns = plainTexts(columns)
	return e
}

func (r *reader) http(n *yaml.Node) *flow.HTTP {
	h := &flow.HTTP{Method: "GET", Path: "/"}
	lines := map[string]string{}
	r.mapping(n, "http",
		field{"method", r.text(&h.Method)},
		field{"host", r.text(&h.Host)},
		field{"path", r.text(&h.Path)},
		field{"query", r.text(&h.Query)},
		field{"headers", r.labels(&lines)},
	)
	h.Headers = lowerKeys(lines)
	return h
}

func (r *reader) expect(n *yaml.Node, e *Expectation) {
	var verdict, rule string
	var approvers, masked, clear []named
	r.mapping(n, "expect",
		field{"verdict", r.word(&verdict, "verdict", verdicts...)},
		field{"rule", r.text(&rule)},
		field{"approvers", r.texts(&approvers)},
		field{"masked", r.texts(&masked)},
		field{"clear", r.texts(&clear)},
	)
	e.Verdict = flow.Verdict(verdict)
	if r.has(n, "rule") {
		e.Rule = &rule
	}
	e.Approvers, e.Masked, e.Clear = plainTexts(approvers), plainTexts(masked), plainTexts(clear)
	for _, name := range append(masked, clear...) {
		if _, err := parsePart(name.string); err != nil {
			r.complain(name.at, fmt.Sprintf("%q: %v", clip(name.string), err), "such as public.users.email, header:set-cookie, json:$.email, detect:jwt")
		}
	}
	if len(n.Content) == 0 {
		r.wrong(n, "a test that expects nothing proves nothing", "verdict: ..")
	}
}
