// Package rules is the law: it says which identity may reach which target,
// what becomes of a request, and which fields are hidden. It is pure. It has
// never seen a socket, reads no file and no clock, and is told the time.
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
	Name     string
	Protocol string // postgres http tcp
	Record   RecordLevel
	TLS      TLS
}

// TLS says how the two legs of a target's connections are protected.
type TLS struct {
	Upstream string // disable, prefer, require, verify-ca, verify-full; "" is prefer
	CA       string // path of a PEM bundle for verify-*
	Name     string // server name to verify; "" is the address
	Client   string // clear (the loopback leg carries no TLS) or terminate; "" is clear
}

// Policy is one loaded policy, immutable.
type Policy struct {
	generation uint64
}

// Generation tells two policies of one daemon apart; it grows.
func (p *Policy) Generation() uint64 { return p.generation }
