package rules

import (
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Input is everything a rule's condition can look at.
type Input struct {
	Identity *flow.Identity
	Target   *Target
	Flow     *flow.Flow
	Request  *flow.Request
	Now      time.Time
}

// Decision is what the policy says of one request.
type Decision struct {
	Verdict   flow.Verdict
	Rule      string        // empty: the default
	Message   string        // what to tell the client
	Approvers []string      // for a hold
	Timeout   time.Duration // of a hold
	Durable   bool          // the record must be on disk first (durability: disk)
	// Timeless says the decision used neither now nor anything else that changes
	// while the identity, target and request text stay the same.
	Timeless bool
}

// Decide says what becomes of a request. Identity, Target and Request are
// required, and the absence of one is a denial; so is an identity, target or grant that
// the policy has no more, for a session may be older than its policy. A target
// without name stands for "no target": no rule speaks of it, not even one on "*",
// and the identity's default decides.
//
// The first rule that matches decides; without one, a query, an HTTP request or
// a connection is allowed, and anything else (a fast-path function call, a
// replication) denied. What is closed by default is opened only by a rule whose condition
// names request.kind or request.function: one that allows everything does not mean it.
//
// A condition that fails, or costs too much, is a match with verdict deny. A
// condition that depends on an unknown effect may match: then a warn, hold or deny
// counts, an allow does not, and of all that may apply the strictest
// decides. A rule that names the action "unknown" is asked plainly.
func (p *Policy) Decide(in Input) Decision { return p.consider(&in, nil) }

// consider is Decide; what each rule came to is told to trace, if any.
func (p *Policy) consider(in *Input, trace func(*rule, truth)) Decision {
	if why := p.stranger(in); why != "" {
		return Decision{Verdict: flow.Deny, Message: why}
	}
	s := newScene(in)
	timeless := true
	var strictest Decision
	for _, u := range p.byTarget[in.Target.Name] {
		t := s.ask(u)
		if trace != nil {
			trace(u, t)
		}
		timeless = timeless && u.when.traits.timeless && t != broken
		if !u.counts(t, in.Request.Kind) {
			continue
		}
		if d := u.decision(t); stricter(d.Verdict, strictest.Verdict) {
			strictest = d
		}
		if t != maybe {
			strictest.Timeless = timeless
			return strictest
		}
	}
	if d := fallback(in.Request.Kind); stricter(d.Verdict, strictest.Verdict) {
		strictest = d
	}
	strictest.Timeless = timeless
	return strictest
}

// stranger says why no rule needs to be asked; empty when rules decide.
func (p *Policy) stranger(in *Input) string {
	if in.Identity == nil || in.Target == nil || in.Request == nil {
		return "the request could not be attributed"
	}
	id, ok := p.Identity(in.Identity.Name)
	switch {
	case !ok:
		return ErrUnknownIdentity.Error()
	case id.Expired(in.Now):
		return ErrExpired.Error()
	case in.Target.Name == "" && p.Default(id.Name) == DefaultDeny:
		return "no target of the policy has this address"
	case in.Target.Name == "":
		return ""
	}
	if _, ok := p.byTarget[in.Target.Name]; !ok {
		return ErrUnknownTarget.Error()
	}
	if !p.byGrant[[2]string{id.Name, in.Target.Name}] {
		return ErrNoGrant.Error()
	}
	return ""
}

// counts says that a rule which came to t has a say on a request of this kind.
func (u *rule) counts(t truth, kind string) bool {
	switch t {
	case yes:
		return u.means(kind)
	case maybe:
		return u.verdict != flow.Allow && u.means(kind)
	}
	return t == broken
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
