package interceptor

import (
	"context"
	"log/slog"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// Answer is what became of a question.
type Answer struct {
	Verdict flow.Verdict // Allow, Warn or Deny: a hold has been waited for. Hold: the request was Deferred
	Cause   Cause        // why it was denied
	Rule    string       // empty: the default
	Message string       // of the rule, or of the person who denied
	Ask     string       // id, when the request was held
	// Unrecorded says that it was denied because the record cannot be written.
	Unrecorded bool
	// Durable says that the record has to be on disk before the request is
	// forwarded: the engine sets Output.Durable with its bytes.
	Durable bool
	// Reusable says that the same text gets the same answer for as long as
	// Generation is the policy's: no rule looked at the clock and nobody was asked.
	Reusable   bool
	Generation uint64
}

// Cause says why a request was denied.
type Cause string

// The causes of a denial.
const (
	ByRule      Cause = "rule"      // the policy says deny
	ByPerson    Cause = "person"    // an approver said no
	ByTimeout   Cause = "timeout"   // nobody answered in time
	ByCancel    Cause = "cancel"    // the client cancelled or left
	ByIgnorance Cause = "ignorance" // the request could not be understood, or not be recorded
)

// Tape takes down one session. Append has left the process when it returns
// (it survives a killed daemon); Sync returns when all that was appended is on
// disk. Both are safe for concurrent use. An error means that nothing more may pass.
type Tape interface {
	Append(kind TapeKind, body []byte) error
	Sync() error
}

// TapeKind says what a tape entry's body is. The numbers are on disk.
type TapeKind uint8

// Tape kinds. Up and Down are stream segments: concatenated they are
// the conversation as the client had it (after masks), from the first byte after
// authentication. An entry may start and end inside a message.
const (
	TapeMeta    TapeKind = 1 // JSON: the flow, the protocol, what is recorded
	TapeUp      TapeKind = 2
	TapeDown    TapeKind = 3
	TapeVerdict TapeKind = 4 // JSON Verdict: a request was decided; its bytes follow as TapeUp
	TapeOmitted TapeKind = 5 // JSON: {"direction","bytes","why"}: stream bytes left out by the record level
	TapeEnd     TapeKind = 6 // JSON: the outcome; nothing follows
)

// TapeNote is the JSON body of a TapeVerdict entry.
type TapeNote struct {
	Request *flow.Request `json:"request"`
	Verdict flow.Decided  `json:"verdict"`
	Ask     string        `json:"ask,omitempty"`
}

// Asker puts held requests to people.
type Asker interface {
	// Ask opens an ask, or finds an approval that already covers the request
	// (then Wait returns at once).
	Ask(ctx context.Context, f *flow.Flow, r *flow.Request, d rules.Decision) (Ask, error)
}

// Ask is one open ask.
type Ask interface {
	ID() string
	// Wait returns when the ask is resolved. A ctx that ends cancels the ask.
	Wait(ctx context.Context) flow.AskState
}

// Journal takes the events that enter the host's log.
type Journal interface {
	Log(flow.Event) error
}

// Meter counts. Implementations must be cheap and safe for concurrent use.
type Meter interface {
	Flow(f *flow.Flow, delta int)                    // +1 opened, -1 closed
	Request(identity, target string, v flow.Verdict) // a held one twice: as held, and with its answer
	Bytes(identity string, dir Direction, n int)
	Masked(identity, target string, n int) // fields
	Recorded(d time.Duration)              // one durable wait
	Refused(reason string)                 // a connection refused before it had a session
}

// Session is one flow being served, as its engine sees it.
type Session struct {
	ID     string
	Flow   *flow.Flow
	Target *rules.Target
	Masks  *rules.Masks // never nil; Empty() when nothing is to be masked
	Level  rules.RecordLevel
	Tape   Tape
	Meter  Meter
	Log    *slog.Logger

	policy  func() *rules.Policy
	bound   uint64 // the generation Target, Masks and Level come from
	asker   Asker
	journal Journal
	nextID  uint64
	cancel  holdCancel
	failure error // see Failed
}

// Failed notes why a conversation ends that the engine ends in good order, its client
// told: the record has it as the session's outcome. Called under the engine's lock.
func (s *Session) Failed(why error) { s.failure = why }

// NextRequest numbers requests, from 1. Called under the engine's lock.
func (s *Session) NextRequest() uint64 {
	s.nextID++
	return s.nextID
}

// Generation is the current policy's: an Answer of another one is stale.
func (s *Session) Generation() uint64 { return s.policy().Generation() }

// refresh takes over a new policy's target and masks. Called under the engine's
// lock, before an answer of the new policy reaches the engine. A target the
// new policy no longer has keeps its old masks: its requests are denied.
func (s *Session) refresh() {
	policy := s.policy()
	if policy.Generation() == s.bound {
		return
	}
	s.bound = policy.Generation()
	target, ok := policy.Target(s.Flow.Destination)
	if !ok || target.Name != s.Flow.Target {
		return
	}
	s.Target, s.Level = target, target.Record
	s.Masks = policy.Masks(s.Flow.Identity, target.Name)
}

// identity is the flow's identity as policy has it now.
func (s *Session) identity(policy *rules.Policy) *flow.Identity {
	id, ok := policy.Identity(s.Flow.Identity)
	if !ok {
		return &flow.Identity{Name: s.Flow.Identity}
	}
	return &id
}
