package api

import (
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Status is what `chaperone status` shows: what was verified and when, never what was merely loaded.
type Status struct {
	Version     string         `json:"version"`
	Host        string         `json:"host"`
	PID         int            `json:"pid"`
	Started     time.Time      `json:"started"`
	Draining    bool           `json:"draining"`
	Policy      PolicyStatus   `json:"policy"`
	Canary      Canary         `json:"canary"`
	Recorder    RecorderStatus `json:"recorder"`
	Enrollments []Enrollment   `json:"enrollments"`
	Flows       int            `json:"flows"` // live
	Asks        int            `json:"asks"`  // pending
	// Notes are sentences about what is not enrolled though the policy says so, and what this host cannot enforce.
	Notes []string `json:"notes,omitempty"`
}

// PolicyStatus tells which policy is in force and whether a newer one was turned down.
type PolicyStatus struct {
	Source     string    `json:"source"` // file or directory
	Generation uint64    `json:"generation"`
	Loaded     time.Time `json:"loaded"`
	Digest     string    `json:"digest,omitempty"` // SHA-256, hex
	// Error is why the last edit was not taken: the older policy stays in force.
	Error   string    `json:"error,omitempty"`
	ErrorAt time.Time `json:"error_at,omitzero"`
}

// Canary is a connection that proves the redirect, end to end.
type Canary struct {
	Verified time.Time `json:"verified,omitzero"` // when one last came through, from any enrollment; zero: never
	// Failing is how many enrollments failed their last canary. What follows is of the one that does for longest.
	Failing  int       `json:"failing,omitempty"`
	Error    string    `json:"error,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Cgroup   string    `json:"cgroup,omitempty"`
	Identity string    `json:"identity,omitempty"`
}

// RecorderStatus is the record's health.
type RecorderStatus struct {
	Path  string `json:"path"`
	Seq   uint64 `json:"seq"`
	Bytes int64  `json:"bytes,omitempty"`
	Error string `json:"error,omitempty"` // nothing is forwarded while this is set
}

// Anybody stands for the identity of an enrollment that is to end, whoever's it is.
const Anybody = "-"

// Enroll asks for a cgroup to be enrolled, or no longer to be. Exactly one of
// the last four says which.
type Enroll struct {
	Identity  string `json:"identity"`
	Unit      string `json:"unit,omitempty"`
	Cgroup    string `json:"cgroup,omitempty"` // path below the cgroup v2 mount
	PID       int    `json:"pid,omitempty"`
	Container string `json:"container,omitempty"`
}

// OneSelector is what is wrong with none or several.
const OneSelector = "give one of --unit, --cgroup, --pid and --container"

// valid says what is wrong with a request, "" when nothing is.
func (e Enroll) valid() string {
	given := 0
	for _, is := range []bool{e.Unit != "", e.Cgroup != "", e.PID != 0, e.Container != ""} {
		if is {
			given++
		}
	}
	switch {
	case e.Identity == "":
		return "which identity? (--identity NAME)"
	case given != 1:
		return OneSelector
	case e.PID < 0:
		return "a pid is above zero"
	}
	return ""
}

// Enrollment is a cgroup bound to an identity.
type Enrollment struct {
	ID       uint32    `json:"id"`
	Identity string    `json:"identity"`
	Cgroup   string    `json:"cgroup"`
	Source   string    `json:"source,omitempty"` // "unit billing.service", "run", "policy"
	Since    time.Time `json:"since"`
	// Verified is when a canary last came through from this cgroup; zero: never.
	Verified time.Time `json:"verified,omitzero"`
	// Error is why the last canary did not, and ErrorSince when they began to fail.
	Error      string    `json:"error,omitempty"`
	ErrorSince time.Time `json:"error_since,omitzero"`
	Flows      int       `json:"flows"`
	// Advisory says why the enrolled processes could undo the enrollment, "" when they cannot.
	Advisory string `json:"advisory,omitempty"`
	// Uncovered counts connections from before the enrollment that could not be ended.
	Uncovered int `json:"uncovered,omitempty"`
}

// Begin asks for a place to run a command in.
type Begin struct {
	Identity string `json:"identity"`
	Name     string `json:"name,omitempty"` // of the command, for listings
}

// Run is a place to run a command in: start the process inside Cgroup.
type Run struct {
	ID         string `json:"id"`
	Cgroup     string `json:"cgroup"`      // path below the cgroup v2 mount
	CgroupPath string `json:"cgroup_path"` // of the directory, to open for CLONE_INTO_CGROUP
}

// Session is a live session.
type Session struct {
	ID       string    `json:"id"`
	Flow     flow.Flow `json:"flow"`
	Requests uint64    `json:"requests"`
	Up       uint64    `json:"bytes_up"`
	Down     uint64    `json:"bytes_down"`
	Ask      string    `json:"ask,omitempty"` // it waits for
}

// Kill names what to end: exactly one of the two.
type Kill struct {
	Session  string `json:"session,omitempty"`
	Identity string `json:"identity,omitempty"`
}

// Prune says what of the record may go.
type Prune struct {
	Before time.Time `json:"before"`
}

func (p Prune) valid() string {
	if p.Before.IsZero() || p.Before.After(time.Now()) {
		return "prune what is older than a time that has passed"
	}
	return ""
}

// Identity is an identity of the policy, with what it does now.
type Identity struct {
	flow.Identity
	Expired     bool     `json:"expired"`
	Enrollments []string `json:"enrollments,omitempty"` // cgroups
	Flows       int      `json:"flows"`
}

// Target is a target of the policy.
type Target struct {
	Name       string   `json:"name"`
	Protocol   string   `json:"protocol"`
	Addresses  []string `json:"addresses"`
	Record     string   `json:"record"`
	TLS        string   `json:"tls,omitempty"`        // of the leg to the server
	Credential string   `json:"credential,omitempty"` // its source, never its value
}

// Grant is an identity's permission on a target.
type Grant struct {
	Identity string    `json:"identity"`
	Target   string    `json:"target"`
	TTL      flow.Span `json:"ttl,omitempty"`
	Until    time.Time `json:"until,omitzero"`
	Approval string    `json:"approval"` // "none", or by whom
}

// Decision answers an ask.
type Decision struct {
	Approve bool   `json:"approve"`
	Scope   string `json:"scope,omitempty"` // once (default), session, or a duration
	Reason  string `json:"reason,omitempty"`
}
