package rules

import (
	"time"

	"cel.dev/cel-go/common/types"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// rule is a rules entry.
type rule struct {
	name      string
	target    named // "*": every target
	when      condition
	verdict   flow.Verdict
	approvers []named
	timeout   time.Duration
	message   string
	durable   bool
	at        place
}

func (u *rule) concerns(target string) bool {
	return u.target.string == "*" || u.target.string == target
}

// decision is what the rule says when it matches.
func (u *rule) decision() Decision {
	d := Decision{Verdict: u.verdict, Rule: u.name, Message: u.message, Durable: u.durable}
	if u.verdict == flow.Hold {
		d.Timeout = u.timeout
		for _, a := range u.approvers {
			d.Approvers = append(d.Approvers, a.string)
		}
	}
	return d
}

// truth is a condition's value: what is unknown is not false.
type truth uint8

const (
	no truth = iota
	yes
	maybe  // it depends on what is not known of the request
	broken // it failed, or cost too much
)

// holds evaluates the condition. scene is reused between rules.
func (c *condition) holds(s *scene) truth {
	switch c.constant {
	case always:
		return yes
	case never:
		return no
	}
	program := c.quick
	if s.large || c.traits.depth > 2 {
		program = c.bounded
	}
	v, _, err := program.Eval(s)
	if err != nil {
		return broken
	}
	switch v {
	case types.True:
		return yes
	case types.False:
		return no
	}
	if types.IsUnknown(v) {
		return maybe
	}
	return broken
}
