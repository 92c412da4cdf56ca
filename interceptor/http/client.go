package http

import (
	"context"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/http/wire"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// The states of the client's half. A request goes from upHead to upAsked,
// upJudged, and then, allowed, upBody, or, refused, upSwallow, and back to upHead. upRaise
// waits for the response that decides whether the connection leaves HTTP; upTunnel has left it.
// In upDeaf nothing is understood any more: the last response is on its way.
type upState uint8

const (
	upHead upState = iota
	upAsked
	upJudged
	upBody
	upSwallow
	upRaise
	upTunnel
	upDeaf
)

// client is the client's half of a conversation.
type client struct {
	state   upState
	head    wire.Head
	req     wire.Request
	body    wire.Body
	need    int  // bytes that must be there before looking again
	blank   bool // an empty line before the request was passed over
	stalled bool // waits for a place in the line, or for the response to an upgrade

	asked   *flow.Request
	others  []*flow.Request // what else the server may understand; each has to be allowed
	fault   error           // what is wrong with the request; nil: nothing
	answer  interceptor.Answer
	close   bool // no further request is read after this one
	last    bool // the server is told that none follows: see couldBeRequest
	durable bool // the answer to another reading asked for the disk
	taken   bool // the body under way goes on tape
	drained int  // bytes dropped in upDeaf
	method  wire.Method
	wire    []byte
	taped   []byte
}

// moveUp does one step with the client's bytes; more says that another may follow.
func (e *Engine) moveUp(in []byte, out *interceptor.Output) (n int, more bool, err error) {
	switch e.up.state {
	case upHead:
		return e.readRequest(in, out)
	case upJudged:
		return e.actOnAnswer(in, out)
	case upBody:
		return e.passBody(in, out)
	case upSwallow:
		return e.swallow(in, out)
	case upRaise:
		e.up.stalled, out.Stalled = true, true
		return 0, false, nil
	case upTunnel:
		return e.tunnel(interceptor.Up, in, out)
	case upDeaf:
		return e.drain(in, out)
	}
	out.Stalled = true // upAsked: the answer comes first
	return 0, false, nil
}

// readRequest waits for a whole head, and for a small body, and asks about them.
func (e *Engine) readRequest(in []byte, out *interceptor.Output) (int, bool, error) {
	u := &e.up
	if len(in) == 0 || len(in) < u.need {
		return 0, false, nil
	}
	if in[0] == '\r' && !u.blank {
		if len(in) == 1 {
			return 0, false, nil
		}
		if in[1] == '\n' { // RFC 9112 2.2: one empty line before a request is forgiven
			u.blank = true
			return 2, true, nil
		}
	}
	if e.line.full() {
		u.stalled, out.Stalled = true, true
		return 0, false, nil
	}
	size, err := 0, wire.Opening(in[0])
	if err == nil {
		size, err = u.head.Scan(in)
	}
	if err == nil && size == 0 {
		return 0, false, nil
	}
	if err == nil {
		err = u.req.Read(&u.head)
	}
	if err == nil {
		if u.need = size + seen(&u.req); len(in) < u.need {
			return 0, false, nil
		}
		err = e.compose(in[size:])
	}
	e.ask(err, out)
	return 0, false, nil
}

// seen is how much of a request's body is read before it is judged.
func seen(r *wire.Request) int {
	if r.Framing.By == wire.ByLength && r.Framing.Length <= maxSeen && !r.Expect {
		return int(r.Framing.Length)
	}
	return 0
}

// ask puts the composed request, or what is wrong with it, to the driver.
func (e *Engine) ask(fault error, out *interceptor.Output) {
	u := &e.up
	u.state, u.fault, u.need, u.blank = upAsked, fault, 0, false
	out.Question = func(context.Context) (*flow.Request, error) { return nil, fault }
	if fault == nil {
		r := u.asked
		out.Question = func(context.Context) (*flow.Request, error) { return r, nil }
	}
}

// actOnAnswer forwards or refuses the request that was asked about.
func (e *Engine) actOnAnswer(in []byte, out *interceptor.Output) (int, bool, error) {
	u := &e.up
	if u.fault != nil {
		e.session.Failed(u.fault)
		e.refuse(malformed(u.fault), exchange{}, out)
		return 0, true, nil
	}
	size, err := u.head.Scan(in) // the bytes may have moved while the driver waited
	if err == nil {
		err = u.req.Read(&u.head)
	}
	if err != nil {
		return 0, false, err
	}
	if allowed(u.answer) {
		if err := e.checkRaise(); err != nil {
			return 0, false, err
		}
	}
	if err := e.reel.verdict(u.asked, u.answer); err != nil {
		return 0, false, err
	}
	if allowed(u.answer) && len(u.others) > 0 {
		u.durable = u.durable || u.answer.Durable
		u.asked, u.others = u.others[0], u.others[1:]
		e.ask(nil, out)
		return 0, false, nil
	}
	e.editRequest(e.session.Masks)
	if err := e.reel.bytes(interceptor.Up, u.taped); err != nil {
		return 0, false, err
	}
	u.body.Begin(u.req.Framing)
	u.taken = e.session.Level == rules.RecordFull
	act := e.deny
	if allowed(u.answer) {
		act = e.forward
	}
	act(out)
	u.wire, u.taped, u.asked = trim(u.wire), trim(u.taped), nil
	return size, true, nil
}

// deny queues a refusal and keeps the connection where its framing stays certain.
func (e *Engine) deny(out *interceptor.Output) {
	u := &e.up
	p := refusal(u.answer)
	p.shut = u.req.Close || !u.body.Done() && (u.req.Expect || u.req.Framing.By != wire.ByLength || u.req.Framing.Length > maxSwallow)
	p.old = u.req.Old
	p.linger = p.shut && !u.body.Done()
	e.refuse(p, exchange{method: wire.MethodOf(u.req.Method), old: u.req.Old}, out)
}

// refuse queues a response of our own.
func (e *Engine) refuse(p problem, x exchange, out *interceptor.Output) {
	x.local, x.went, x.answer = true, true, p
	e.line.push(x)
	out.Kick = true
	switch {
	case p.shut:
		e.up.state = upDeaf
	case e.up.body.Done():
		e.up.state = upHead
	default:
		e.up.state = upSwallow
	}
}

// forward releases the head of an allowed request and opens the way for its body.
func (e *Engine) forward(out *interceptor.Output) {
	u := &e.up
	raise := u.req.Upgrade != nil && !offersH2C(&u.req) || string(u.req.Method) == "CONNECT"
	out.Durable = out.Durable || u.durable || u.answer.Durable
	u.durable = false
	if len(u.wire) > 0 {
		out.Put(u.wire)
	} else {
		out.Pass(u.head.Raw)
	}
	x := e.line.push(exchange{
		method: wire.MethodOf(u.req.Method), old: u.req.Old, expect: u.req.Expect, masks: e.session.Masks, raise: raise, went: u.body.Done(), last: u.last,
	})
	u.close = u.req.Close || u.last
	u.state = upBody
	if x.raise {
		u.state = upRaise
	}
	if u.state == upBody && u.body.Done() {
		e.nextRequest()
	}
}

// nextRequest is where a request has been forwarded or swallowed whole.
func (e *Engine) nextRequest() {
	e.up.state = upHead
	if e.up.close {
		e.up.state = upDeaf // RFC 9112 9.6: what follows a close is not a request
	}
}

func (e *Engine) passBody(in []byte, out *interceptor.Output) (int, bool, error) {
	if len(in) == 0 {
		return 0, false, nil
	}
	n, fault := e.up.body.Span(in)
	if err := e.reel.body(interceptor.Up, in[:n], e.up.taken); err != nil {
		return 0, false, err
	}
	out.Pass(in[:n]) // up to the fault: it would have gone already, had it come in pieces
	if fault != nil || !e.up.body.Done() {
		return n, false, fault
	}
	// The exchange is the last in line: nothing is pushed before its body is done.
	if e.line.count > 0 {
		e.line.ring[(e.line.first+e.line.count-1)%maxLine].went = true
	}
	e.nextRequest()
	return n, true, e.reel.close(interceptor.Up)
}

// drain drops what comes behind the last request. Of a refused upload it takes a good
// part: a connection that closes with bytes unread is reset, and the client
// would lose the refusal.
func (e *Engine) drain(in []byte, out *interceptor.Output) (int, bool, error) {
	if e.up.drained += len(in); e.up.drained > maxDrain {
		e.dead, out.End = true, true
	}
	return len(in), false, nil
}

// swallow reads a refused request's body, which is recorded and goes nowhere.
func (e *Engine) swallow(in []byte, _ *interceptor.Output) (int, bool, error) {
	if len(in) == 0 {
		return 0, false, nil
	}
	n, fault := e.up.body.Span(in)
	if err := e.reel.body(interceptor.Up, in[:n], e.up.taken); err != nil {
		return 0, false, err
	}
	if fault != nil || !e.up.body.Done() {
		return n, false, fault
	}
	e.up.close = false
	e.nextRequest()
	return n, true, e.reel.close(interceptor.Up)
}

// tunnel passes bytes of a connection that has left HTTP.
func (e *Engine) tunnel(dir interceptor.Direction, in []byte, out *interceptor.Output) (int, bool, error) {
	level := e.session.Level
	taken := level == rules.RecordFull || level == rules.RecordResults && dir == interceptor.Down
	if err := e.reel.body(dir, in, taken); err != nil {
		return 0, false, err
	}
	out.Pass(in)
	return len(in), false, nil
}
