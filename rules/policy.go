// Package rules is the law: it says which identity may reach which target,
// what becomes of a request, and which fields are hidden. It is pure. It has
// never seen a socket, reads no file and no clock, and is told the time.
//
// # Why
//
// Conditions are CEL: typed, certain to end, and checked at load, so that a
// misspelt field is a complaint and not a rule that never fires; Cedar was
// turned down because it knows no condition over lists of effects. What cannot be
// known is judged as the worst it could be: an effect that is
// flow.Unknown makes a condition neither true nor false but unknown, and then
// the strictest rule that may apply does. Host names are resolved by the
// daemon and handed in (Policy.WithAddresses), so that the law stays a function.
package rules

import (
	"fmt"
	"sync"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Policy is one loaded policy, immutable and safe for concurrent use.
type Policy struct {
	generation uint64
	key        []byte
	identities []Identity
	targets    []*Target
	grants     []grantRule
	rules      []*rule
	masks      []maskRule
	people     []Person

	byTarget map[string][]*rule // every target; in order, rules on "*" included
	byGrant  map[[2]string]bool // identity and target
	routes   []route            // most specific first
	masked   *sync.Map          // [2]string, identity and target: *Masks
}

// Generation tells two policies of one daemon apart; it grows.
func (p *Policy) Generation() uint64 { return p.generation }

// String names the policy; the masking key is no part of it.
func (p *Policy) String() string {
	return fmt.Sprintf("policy of generation %d: %d identities, %d targets, %d rules, %d masks",
		p.generation, len(p.identities), len(p.targets), len(p.rules), len(p.masks))
}

// GoString is String.
func (p *Policy) GoString() string { return p.String() }

// Identity finds an identity by name.
func (p *Policy) Identity(name string) (flow.Identity, bool) {
	for i := range p.identities {
		if p.identities[i].Name == name {
			return p.identities[i].Identity, true
		}
	}
	return flow.Identity{}, false
}

// Identities lists the identities as the policy has them. Read only.
func (p *Policy) Identities() []Identity { return p.identities }

// Default says what becomes of the identity's flows to where no target is;
// deny for an identity that is not known.
func (p *Policy) Default(identity string) Default {
	for i := range p.identities {
		if p.identities[i].Name == identity {
			return p.identities[i].Default
		}
	}
	return DefaultDeny
}

// Targets lists the targets as the policy has them. Read only.
func (p *Policy) Targets() []*Target { return p.targets }

// TargetNamed finds a target by name.
func (p *Policy) TargetNamed(name string) (*Target, bool) {
	for _, t := range p.targets {
		if t.Name == name {
			return t, true
		}
	}
	return nil, false
}

// People lists the roles that can be asked. Read only.
func (p *Policy) People() []Person { return p.people }
