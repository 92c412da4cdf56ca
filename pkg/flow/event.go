package flow

import "time"

// Event is one entry of the record: DESIGN.md's envelope. Seq, Host and the
// chain are the record's to fill.
type Event struct {
	V        int            `json:"v"`
	Seq      uint64         `json:"seq"`
	Time     time.Time      `json:"time"`
	Host     string         `json:"host"`
	Type     string         `json:"type"`
	Session  string         `json:"session,omitempty"`
	Flow     *Flow          `json:"flow,omitempty"`
	Identity string         `json:"identity,omitempty"`
	Process  *Process       `json:"process,omitempty"`
	Target   string         `json:"target,omitempty"`
	Request  *Request       `json:"request,omitempty"`
	Verdict  *Decided       `json:"verdict,omitempty"`
	Ask      *AskState      `json:"ask,omitempty"`
	Result   map[string]any `json:"result,omitempty"`
}

// Decided is a verdict with the rule that gave it.
type Decided struct {
	Verdict Verdict `json:"verdict"`
	Rule    string  `json:"rule,omitempty"` // empty: the default
	Reason  string  `json:"reason,omitempty"`
}

// AskState is an ask as the record and the listings show it.
type AskState struct {
	ID       string    `json:"id"`
	State    string    `json:"state"` // pending approved denied expired cancelled
	Scope    string    `json:"scope,omitempty"`
	By       string    `json:"by,omitempty"` // who decided
	Reason   string    `json:"reason,omitempty"`
	Opened   time.Time `json:"opened"`
	Expires  time.Time `json:"expires"`
	Resolved time.Time `json:"resolved,omitzero"`
}

// Event types.
const (
	SessionStarted   = "session.started"
	SessionEnded     = "session.ended"
	RequestDecided   = "request.decided"
	RequestCompleted = "request.completed"
	AskOpened        = "ask.opened"
	AskResolved      = "ask.resolved"
	EnrollmentAdded  = "enrollment.added"
	EnrollmentEnded  = "enrollment.ended"
	CaptureCanary    = "capture.canary"
	CaptureRefused   = "capture.refused"
	PolicyLoaded     = "policy.loaded"
	PolicyRejected   = "policy.rejected"
	RecorderStarted  = "recorder.started"
	RecorderStopped  = "recorder.stopped"
	AdminAct         = "admin.act"
)
