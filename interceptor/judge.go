package interceptor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// noteEvery is how often a client is told that its request still waits.
const noteEvery = 10 * time.Second

// waiter is the client of a held request, as the judge sees it.
type waiter interface {
	tell(text string)
	watchClient(ctx context.Context, leave func())
}

// judge decides one request: read, decide, hold if need be, journal. It always comes to an
// answer; whatever goes wrong on the way is a denial.
func (s *Session) judge(ctx context.Context, q Question, w waiter) Answer {
	req, err := q(ctx)
	if err != nil {
		return s.unread(err)
	}
	policy := s.policy()
	d := s.decide(policy, req)
	a := Answer{
		Verdict: d.Verdict, Cause: ByRule, Rule: d.Rule, Message: d.Message,
		Durable:  d.Durable || req.Changes || d.Verdict == flow.Hold,
		Reusable: d.Timeless && d.Verdict != flow.Hold, Generation: policy.Generation(),
	}
	if d.Verdict == flow.Hold && req.Deferred {
		return a // nothing is decided before it runs
	}
	if d.Verdict == flow.Hold {
		s.hold(ctx, req, d, &a, w)
		s.reconsider(policy, req, d, &a)
	}
	s.Meter.Request(s.Flow.Identity, s.Target.Name, a.Verdict)
	if err := s.note(req, &a, d.Verdict); err != nil {
		s.Log.Error("decision not recorded", "session", s.ID, "err", err)
		return Answer{Verdict: flow.Deny, Cause: ByIgnorance, Message: "the decision could not be recorded", Unrecorded: true}
	}
	return a
}

// unread refuses a request that could not be read.
func (s *Session) unread(why error) Answer {
	s.Log.Warn("request not read", "session", s.ID, "err", why)
	a := Answer{Verdict: flow.Deny, Cause: ByIgnorance, Message: "the request could not be read"}
	if err := s.Refused(nil, "", why.Error()); err != nil {
		s.Log.Error("decision not recorded", "session", s.ID, "err", err)
	}
	return a
}

func (s *Session) decide(p *rules.Policy, req *flow.Request) rules.Decision {
	return p.Decide(rules.Input{Identity: s.identity(p), Target: s.Target, Flow: s.Flow, Request: req, Now: time.Now()})
}

// reconsider holds an approval against a policy that changed while people thought:
// they approved what the old one held.
func (s *Session) reconsider(asked *rules.Policy, req *flow.Request, d rules.Decision, a *Answer) {
	policy := s.policy()
	if a.Verdict != flow.Allow || policy.Generation() == asked.Generation() {
		return
	}
	now := s.decide(policy, req)
	if now.Verdict == flow.Deny || now.Verdict == flow.Hold && now.Rule != d.Rule {
		a.Verdict, a.Cause, a.Rule, a.Message = flow.Deny, ByRule, now.Rule, "the policy changed while this waited"
	}
	a.Generation = policy.Generation()
}

// hold waits for people to decide, and turns the answer into allow or deny.
func (s *Session) hold(ctx context.Context, req *flow.Request, d rules.Decision, a *Answer, w waiter) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.Verdict = flow.Deny
	s.cancel.set(cancel) // before the ask: a cancel that comes meanwhile ends it
	defer s.cancel.set(nil)
	ask, err := s.asker.Ask(ctx, s.Flow, asked(req), d)
	if err != nil {
		a.Cause, a.Message = ByIgnorance, err.Error()
		return
	}
	a.Ask = ask.ID()
	s.Meter.Request(s.Flow.Identity, s.Target.Name, flow.Hold) // and once more with the answer
	state := s.wait(ctx, cancel, ask, d, w)
	switch state.State {
	case "approved":
		a.Verdict = flow.Allow
	case "denied":
		a.Cause, a.Message = ByPerson, state.Reason
	case "expired":
		a.Cause = ByTimeout
	default:
		a.Cause = ByCancel
	}
}

// asked is the request as people see it: an approval covers a run, not a text.
func asked(req *flow.Request) *flow.Request {
	if req.Run == "" && req.Reveal == nil {
		return req
	}
	run := *req
	if req.Run != "" {
		run.Fingerprint = req.Run
	}
	if req.Reveal != nil {
		run.Parameters = req.Reveal()
	}
	return &run
}

// wait keeps the client informed and watched while its ask is open.
func (s *Session) wait(ctx context.Context, leave func(), ask Ask, d rules.Decision, w waiter) flow.AskState {
	resolved := make(chan flow.AskState, 1)
	go func() { resolved <- ask.Wait(ctx) }()
	watched := make(chan struct{})
	watching, stop := context.WithCancel(ctx)
	go func() {
		defer close(watched)
		w.watchClient(watching, leave)
	}()
	defer func() {
		stop()
		<-watched
	}()
	until := time.Now().Add(d.Timeout)
	tick := time.NewTicker(noteEvery)
	defer tick.Stop()
	// An approval that stood already answers at once; its client is told nothing.
	grace := time.After(5 * time.Millisecond)
	for {
		select {
		case state := <-resolved:
			return state
		case <-grace:
			w.tell(fmt.Sprintf("chaperone: waiting for approval %s (rule %s, %s left)", ask.ID(), d.Rule, left(until)))
		case <-tick.C:
			w.tell(fmt.Sprintf("chaperone: still waiting for approval %s (%s left)", ask.ID(), left(until)))
		}
	}
}

func left(until time.Time) time.Duration { return time.Until(until).Round(time.Second) }

// note journals a decision people may want to read in the log: anything but a plain allow.
func (s *Session) note(req *flow.Request, a *Answer, verdict flow.Verdict) error {
	if verdict == flow.Allow {
		return nil
	}
	return s.journal.Log(flow.Event{
		Type: flow.RequestDecided, Session: s.ID, Identity: s.Flow.Identity, Target: s.Target.Name, Request: brief(req),
		Verdict: &flow.Decided{Verdict: a.Verdict, Rule: a.Rule, Reason: string(a.Cause)},
		Result:  map[string]any{"said": string(verdict), "ask": a.Ask},
	})
}

// Journaled gives a session that no Server made a journal, for Refused.
func (s *Session) Journaled(j Journal) *Session {
	s.journal = j
	return s
}

// Refused journals a request that its engine refused on its own, whatever the policy said
// of it. Called under the engine's lock, once a request. An error must end the session.
func (s *Session) Refused(req *flow.Request, rule, why string) error {
	s.Meter.Request(s.Flow.Identity, s.Flow.Target, flow.Deny)
	if s.journal == nil {
		return errors.New("record a refusal: the session has no journal")
	}
	err := s.journal.Log(flow.Event{
		Type: flow.RequestDecided, Session: s.ID, Identity: s.Flow.Identity, Target: s.Flow.Target, Request: brief(req),
		Verdict: &flow.Decided{Verdict: flow.Deny, Rule: rule, Reason: string(ByIgnorance)},
		Result:  map[string]any{"why": why},
	})
	if err != nil {
		return fmt.Errorf("record a refusal: %w", err)
	}
	return nil
}

// sync waits until the session's record is on disk.
func (s *Session) sync() error {
	start := time.Now()
	err := s.Tape.Sync()
	s.Meter.Recorded(time.Since(start))
	if err != nil {
		return fmt.Errorf("sync the record: %w", err)
	}
	return nil
}
