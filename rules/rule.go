package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// rule is a rules entry.
type rule struct {
	name      string
	target    named // "*": every target
	when      condition
	verdict   flow.Verdict
	approvers []named
	names     []string // of the approvers
	timeout   time.Duration
	message   string
	durable   bool
	at        place
}

func (u *rule) concerns(target string) bool {
	return u.target.string == "*" || u.target.string == target
}

// decision is what the rule says when its condition came to t.
func (u *rule) decision(t truth) Decision {
	if t == broken {
		return Decision{Verdict: flow.Deny, Rule: u.name, Message: "the rule's condition could not be evaluated on this request"}
	}
	d := Decision{Verdict: u.verdict, Rule: u.name, Message: u.message, Durable: u.durable}
	if t == maybe && d.Message == "" {
		d.Message = "what the request does is not fully known, and this rule may mean it"
	}
	if u.verdict == flow.Hold {
		d.Timeout = u.timeout
		d.Approvers = slices.Clone(u.names)
	}
	return d
}

func (p *Policy) readRule(r *reader, n *yaml.Node) {
	u := &rule{at: r.at(n), timeout: defaultTimeout}
	var name named
	verdict, durability := "", ""
	r.mapping(n, "a rule",
		field{"name", r.name(&name)},
		field{"target", r.name(&u.target)},
		field{"when", r.condition(&u.when)},
		field{"verdict", r.word(&verdict, "verdict", verdicts...)},
		field{"approvers", r.texts(&u.approvers)},
		field{"timeout", r.span(&u.timeout)},
		field{"message", r.text(&u.message)},
		field{"durability", r.word(&durability, "durability", "process", "disk")},
	)
	u.name, u.verdict, u.durable = name.string, flow.Verdict(verdict), durability == "disk"
	r.needs(n, "a rule", "name", u.name)
	r.needs(n, "a rule", "target", u.target.string)
	if !r.has(n, "verdict") {
		r.wrong(n, "a rule without verdict", "one of: "+strings.Join(verdicts, ", "))
	}
	for _, a := range u.approvers {
		u.names = append(u.names, a.string)
	}
	r.fits(n, u)
	p.rules = append(p.rules, u)
}

var verdicts = []string{string(flow.Allow), string(flow.Warn), string(flow.Hold), string(flow.Deny)}

const (
	defaultTimeout = 10 * time.Minute // of a hold
	maxTimeout     = 24 * time.Hour
)

// fits refuses fields that do nothing for the rule's verdict, and a hold
// that nobody can answer.
func (r *reader) fits(n *yaml.Node, u *rule) {
	if u.verdict == flow.Hold {
		if len(u.approvers) == 0 {
			r.wrong(child(n, "approvers"), "a hold without approvers can only time out", "approvers: [..], or verdict: deny")
		}
		if u.timeout > maxTimeout {
			r.wrong(child(n, "timeout"), "a hold longer than 24h", "a client does not wait that long")
		}
		return
	}
	for _, only := range []string{"approvers", "timeout"} {
		if r.has(n, only) && u.verdict != "" {
			r.wrong(child(n, only), fmt.Sprintf("%s has no effect on verdict %s", only, u.verdict), "verdict: hold, or leave it out")
		}
	}
	if u.verdict == flow.Allow && u.message != "" {
		r.wrong(child(n, "message"), "message has no effect on verdict allow", "verdict: warn, or leave it out")
	}
}
