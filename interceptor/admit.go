package interceptor

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// sniffBytes and sniffTime bound what is looked at of a connection that is
// refused anyway, to refuse it in its own language.
const (
	sniffBytes = 64
	sniffTime  = 500 * time.Millisecond
)

var (
	errKilled    = errors.New("the session was killed")
	errGrantOver = errors.New("the grant is over")

	errUnrecorded = errors.New("the session cannot be recorded")
)

// admission is what a connection is let in on.
type admission struct {
	target   *rules.Target
	protocol Protocol
	until    time.Time // when its grant ends; zero: never
}

// admit chooses target, grant and protocol; an error says why there is no
// session. The protocol is set as soon as it is known, for the refusal's sake.
func (s *Server) admit(policy *rules.Policy, f *flow.Flow) (admission, error) {
	target, ok := policy.Target(f.Destination)
	if !ok {
		return s.admitUntargeted(policy, f)
	}
	f.Target, f.Protocol = target.Name, target.Protocol
	a := admission{target: target, protocol: s.protocol(target.Protocol)}
	if a.protocol == nil {
		return a, errors.New("the target's protocol is not spoken here")
	}
	grant, err := policy.Grant(f.Identity, target.Name, time.Now())
	if err != nil {
		return a, err
	}
	a.until = grant.Until
	f.Seen = flow.Inspected
	if target.Protocol == opaque {
		f.Seen = flow.Opaque
	}
	return a, nil
}

// opaque is the protocol that looks at nothing.
const opaque = "tcp"

// admitUntargeted lets a flow to where no target is pass unseen, where the
// identity's default says so.
func (s *Server) admitUntargeted(policy *rules.Policy, f *flow.Flow) (admission, error) {
	identity, known := policy.Identity(f.Identity)
	switch {
	case !known:
		return admission{}, rules.ErrUnknownIdentity
	case identity.Expired(time.Now()):
		return admission{}, rules.ErrExpired
	case policy.Default(f.Identity) == rules.DefaultDeny:
		return admission{}, errors.New("no target of the policy has this address")
	}
	a := admission{
		target:   &rules.Target{Protocol: opaque, Record: rules.RecordStatements},
		protocol: s.protocol(opaque), until: identity.Expires,
	}
	if a.protocol == nil {
		return a, errors.New("no protocol is spoken here that looks at nothing")
	}
	f.Protocol, f.Seen = opaque, flow.Opaque
	return a, nil
}

// within ends a session with its grant; a zero time never does.
func within(ctx context.Context, until time.Time) (context.Context, context.CancelCauseFunc) {
	if until.IsZero() {
		return context.WithCancelCause(ctx)
	}
	ctx, expire := context.WithDeadlineCause(ctx, until, errGrantOver)
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, func(cause error) {
		cancel(cause)
		expire()
	}
}

func (s *Server) protocol(name string) Protocol {
	for _, p := range s.Protocols {
		if p.Name() == name {
			return p
		}
	}
	return nil
}

// refuse tells a client that it gets no session, in its own language where
// that is known or can be heard, and journals it. One that insists gets a reset, and a sum in the journal.
func (s *Server) refuse(ctx context.Context, conn net.Conn, f *flow.Flow, p Protocol, why error) {
	f.Seen = flow.Denied
	if !s.crowd.alone(f.Identity, time.Now()) {
		s.turnAway(ctx, conn, f, func() flow.Process { return f.Process }, why.Error())
		return
	}
	s.Meter.Refused("policy")
	err := s.Journal.Log(flow.Event{
		Type: flow.RequestDecided, Session: f.ID, Flow: f, Identity: f.Identity, Process: &f.Process, Target: f.Target,
		Verdict: &flow.Decided{Verdict: flow.Deny, Reason: why.Error()},
	})
	if err != nil {
		s.unrecorded.Add(1)
		s.Log.Error("refusal not recorded", "flow", f.ID, "err", err)
	}
	s.Log.Info("flow refused", "flow", f.ID, "identity", f.Identity, "destination", f.Destination, "why", why)
	c := &Conn{Session: &Session{ID: f.ID, Flow: f, Masks: &rules.Masks{}, Meter: s.Meter, Log: s.Log}, Client: conn}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if p == nil {
		p = s.sniff(c)
	}
	if p == nil {
		reset(conn)
		return
	}
	a := Answer{Verdict: flow.Deny, Cause: ByRule, Message: why.Error()}
	if errors.Is(why, errUnrecorded) {
		a.Cause, a.Unrecorded = ByIgnorance, true
	}
	p.Refuse(ctx, c, a)
}

// sniff listens to a client's first words, for a moment, and finds who speaks them.
func (s *Server) sniff(c *Conn) Protocol {
	first := make([]byte, sniffBytes)
	_ = c.Client.SetReadDeadline(time.Now().Add(sniffTime))
	n, err := io.ReadAtLeast(c.Client, first, 8)
	if err != nil {
		return nil
	}
	_ = c.Client.SetReadDeadline(time.Now().Add(5 * time.Second))
	c.Client = &again{Conn: c.Client, rest: first[:n]}
	for _, p := range s.Protocols {
		if p.Sniff(first[:n]) {
			return p
		}
	}
	return nil
}

// again is a connection some bytes of which are read once more.
type again struct {
	net.Conn
	rest []byte
}

func (a *again) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		return a.Conn.Read(p)
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}
