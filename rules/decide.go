package rules

import (
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Decide says what becomes of a request. It is told the whole input: Identity,
// Target and Request are required, and their absence is a denial.
//
// The first rule that matches decides; without one, a query, an HTTP request or
// a connection is allowed, and anything else (a fast-path function call, a
// replication) denied. Such a request is opened only by a rule that
// names request.kind or request.function: a rule that allows everything does not mean it.
//
// A condition that fails, or costs too much, is a match with verdict deny. A
// condition that depends on an unknown effect may match: then a warn, hold or deny
// counts, an allow does not, and of all that may apply the strictest
// decides. A rule that names the action "unknown" is asked plainly.
func (p *Policy) Decide(in Input) Decision {
	d, _ := p.consider(&in, nil)
	return d
}

// consider is Decide; each rule looked at is told to trace, if any.
func (p *Policy) consider(in *Input, trace func(*rule, truth)) (Decision, *rule) {
	if in.Identity == nil || in.Target == nil || in.Request == nil {
		return Decision{Verdict: flow.Deny, Message: "the request could not be attributed"}, nil
	}
	s := newScene(in)
	timeless := true
	var strictest Decision
	var chosen *rule
	for _, u := range p.byTarget[in.Target.Name] {
		timeless = timeless && u.when.traits.timeless
		t := s.ask(u)
		if trace != nil {
			trace(u, t)
		}
		if t == no || !u.means(in.Request.Kind) || t == maybe && u.verdict == flow.Allow {
			continue
		}
		d := u.decision()
		if t == broken {
			d = Decision{Verdict: flow.Deny, Rule: u.name, Message: "the rule's condition could not be evaluated on this request"}
			timeless = false
		}
		if stricter(d.Verdict, strictest.Verdict) {
			strictest, chosen = d, u
		}
		if t != maybe {
			strictest.Timeless = timeless
			return strictest, chosen
		}
	}
	if d := fallback(in.Request.Kind); stricter(d.Verdict, strictest.Verdict) {
		strictest, chosen = d, nil
	}
	strictest.Timeless = timeless
	return strictest, chosen
}

// ask evaluates one rule. Where an effect is unknown its fields are unknown too,
// unless the rule names that very action.
func (s *scene) ask(u *rule) truth {
	s.request.list.doubt = s.doubt
	if s.doubt && u.when.traits.namesUnknown {
		s.request.list.doubt = false
		t := u.when.holds(s)
		if t != no {
			return t
		}
		s.request.list.doubt = true
	}
	return u.when.holds(s)
}

// means says that the rule may speak on a request of this kind: what is closed
// by default is not opened by a rule that does not name it.
func (u *rule) means(kind string) bool {
	if fallback(kind).Verdict == flow.Allow {
		return true
	}
	return u.verdict == flow.Deny || u.verdict == flow.Hold || u.when.traits.namesKind
}

// fallback is the decision where no rule matches.
func fallback(kind string) Decision {
	switch kind {
	case flow.KindQuery, flow.KindHTTP, flow.KindConnect:
		return Decision{Verdict: flow.Allow}
	case flow.KindFunctionCall:
		return Decision{Verdict: flow.Deny, Message: "function calls by number are refused unless a rule on request.kind allows them"}
	case flow.KindReplication:
		return Decision{Verdict: flow.Deny, Message: "replication is refused unless a rule on request.kind allows it"}
	}
	return Decision{Verdict: flow.Deny, Message: "the request is of a kind the policy does not know"}
}

// stricter says that a forbids more than b; anything is stricter than nothing.
func stricter(a, b flow.Verdict) bool { return severity(a) > severity(b) }

func severity(v flow.Verdict) int {
	switch v {
	case "":
		return 0
	case flow.Allow:
		return 1
	case flow.Warn:
		return 2
	case flow.Hold:
		return 3
	}
	return 4
}
