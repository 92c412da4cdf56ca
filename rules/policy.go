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
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// RecordLevel says how much of a session goes on tape.
type RecordLevel uint8

// The record levels.
const (
	RecordFull       RecordLevel = iota // statements, parameters, results after masks
	RecordResults                       // statements and results, no parameters
	RecordStatements                    // statements and outcomes only
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

// Target is a named upstream.
type Target struct {
	Name      string
	Protocol  string // postgres http tcp
	Addresses []Address
	Record    RecordLevel
	TLS       TLS

	at place
}

// TLS says how the two legs of a target's connections are protected.
type TLS struct {
	Upstream string // disable, prefer, require, verify-ca, verify-full; "" is prefer
	CA       string // path of a PEM bundle for verify-*
	Name     string // server name to verify; "" is the address
	Client   string // clear (the loopback leg carries no TLS) or terminate; "" is clear
}

// Identity is an identity with the part of the policy that only the daemon needs.
type Identity struct {
	flow.Identity
	Match   []Match // any one selects; none: only explicit enrollment
	Default Default

	at place
}

// Default says what becomes of an identity's flows to where no target is.
type Default string

// The defaults.
const (
	DefaultDeny    Default = "deny"    // refused; what is meant when nothing is said
	DefaultObserve Default = "observe" // passed on and recorded as bytes and counts
	DefaultAllow   Default = "allow"   // passed on
)

// Person is a role that can be asked, and who fills it.
type Person struct {
	Name    string
	Members []string

	at place
}

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

	byTarget map[string][]*rule // in order, those of "*" included
	routes   []route            // most specific first
}

// Generation tells two policies of one daemon apart; it grows.
func (p *Policy) Generation() uint64 { return p.generation }

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
