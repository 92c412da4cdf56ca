// Package flow holds the words every other package speaks: who a subagent is,
// which connection it opened, what it asked for and what was decided.
//
// It is floor 0 of the house: plain data with the record's JSON names, no
// behaviour beyond saying itself.
package flow

import (
	"net/netip"
	"time"
)

// Identity is a named non-human identity, as the policy declares it.
type Identity struct {
	Name    string            `json:"name"`
	Owner   string            `json:"owner,omitempty"`
	Purpose string            `json:"purpose,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Expires time.Time         `json:"expires,omitzero"` // zero: never
}

// Expired says whether the identity's time is over at now.
func (i Identity) Expired(now time.Time) bool {
	return !i.Expires.IsZero() && !now.Before(i.Expires)
}

// Process is the process that opened a flow, as found when it connected.
// Argv is redacted before it gets here: secrets never reach the record.
type Process struct {
	PID       int        `json:"pid"`
	Start     uint64     `json:"start"` // clock ticks since boot, /proc/PID/stat field 22
	UID       uint32     `json:"uid"`
	Exe       string     `json:"exe,omitempty"`
	ExeSHA256 string     `json:"exe_sha256,omitempty"` // hex
	Argv      []string   `json:"argv,omitempty"`
	Ancestors []Ancestor `json:"ancestors,omitempty"` // nearest first
	Cgroup    string     `json:"cgroup,omitempty"`    // path below the cgroup v2 mount, as in /proc/PID/cgroup
	Unit      string     `json:"unit,omitempty"`      // systemd unit, from the cgroup path
	// Partial says that the process was gone before all of this could be read.
	Partial bool `json:"partial,omitempty"`
}

// Ancestor is one step up the process tree.
type Ancestor struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
	Exe   string `json:"exe,omitempty"`
}

// Origin is what the kernel remembered of a connect(), handed over with the
// accepted socket. Its source is socket storage, never a table keyed by port.
type Origin struct {
	Destination netip.AddrPort // where the program wanted to go, IPv4 unmapped
	Enrollment  uint32         // the attach point's constant: which enrollment redirected it
	Cookie      uint64         // of the client's socket
	CgroupID    uint64         // of the task that called connect
	NetNS       uint64         // network namespace cookie
	TGID        uint32
	TID         uint32 // the thread that called connect
	UID         uint32
	Time        time.Duration // CLOCK_MONOTONIC at connect
}

// Seen says how much of a flow Chaperone could look at.
type Seen string

// How a flow was seen.
const (
	Inspected Seen = "inspected"
	SNIOnly   Seen = "sni-only"
	Opaque    Seen = "opaque"
	Denied    Seen = "denied"
	Uncovered Seen = "uncovered"
)

// Flow is one connection: who, where to, how seen.
type Flow struct {
	ID          string         `json:"id"`
	Identity    string         `json:"identity"`
	Process     Process        `json:"process"`
	Destination netip.AddrPort `json:"destination"`
	Target      string         `json:"target,omitempty"`
	Protocol    string         `json:"protocol,omitempty"`
	Seen        Seen           `json:"seen"`
	Opened      time.Time      `json:"opened"`
}
