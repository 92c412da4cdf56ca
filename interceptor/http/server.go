package http

import (
	"strconv"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/http/wire"
	"github.com/chaperone-dev/chaperone/rules"
)

// The states of the server's half. Every response begins and ends in downHead;
// downBody passes a body as it comes, downScrub through a scrubber.
type downState uint8

const (
	downHead downState = iota
	downBody
	downScrub
	downTunnel
)

// server is the server's half of a conversation.
type server struct {
	state downState
	head  wire.Head
	resp  wire.Response
	body  wire.Body
	scrub scrubber
	bare  bool // the scrubbed body ends with the connection: no chunks
	shut  bool // the connection ends after this response
	taken bool // the body goes on tape
	wire  []byte
	taped []byte

	waiting []byte // a head whose body is to be looked at first
}

// moveDown does one step with the server's bytes; more says that another may follow.
func (e *Engine) moveDown(in []byte, out *interceptor.Output) (n int, more bool, err error) {
	switch e.down.state {
	case downBody:
		return e.passResponse(in, out)
	case downScrub:
		return e.scrubResponse(in, out)
	case downTunnel:
		return e.tunnel(interceptor.Down, in, out)
	}
	x := e.line.front()
	switch {
	case x != nil && x.local:
		return 0, true, e.sayLocal(x, out)
	case len(in) == 0:
		return 0, false, nil
	case x == nil:
		out.End = true // nobody asked: these bytes would be taken for the next request's response
		return len(in), false, nil
	}
	return e.readResponse(x, in, out)
}

// sayLocal releases a response of our own.
func (e *Engine) sayLocal(x *exchange, out *interceptor.Output) error {
	p := x.answer
	e.down.wire = p.append(e.down.wire[:0], x.method)
	if err := e.reel.bytes(interceptor.Down, e.down.wire); err != nil {
		return err
	}
	out.Put(e.down.wire)
	e.finish(p.shut && !p.linger, out)
	return nil
}

// finish is where a response is over.
func (e *Engine) finish(shut bool, out *interceptor.Output) {
	e.line.pop()
	d := &e.down
	d.state, d.scrub, d.wire, d.taped = downHead, nil, trim(d.wire), trim(d.taped)
	if shut {
		out.End = true
	}
	e.wakeClient(out)
}

// wakeClient lets a stalled client go on.
func (e *Engine) wakeClient(out *interceptor.Output) {
	if e.up.stalled {
		e.up.stalled, out.Kick = false, true
	}
}

// withhold replaces a response that may not pass; the connection ends with it,
// for what follows in it is the body nobody may see.
func (e *Engine) withhold(x *exchange, why string, in []byte, out *interceptor.Output) (int, bool, error) {
	x.answer = withheld(why)
	e.session.Failed(wire.Fault(why))
	return len(in), false, e.sayLocal(x, out)
}

// readResponse waits for a whole head and decides what becomes of its body.
func (e *Engine) readResponse(x *exchange, in []byte, out *interceptor.Output) (int, bool, error) {
	d := &e.down
	size, err := d.head.Scan(in)
	if err == nil && size == 0 {
		return 0, false, nil
	}
	if err == nil {
		err = d.resp.Read(&d.head, x.method)
	}
	if err != nil {
		return e.withhold(x, "the server's response is malformed: "+err.Error(), in, out)
	}
	if d.resp.Status == 101 || x.method == wire.ConnectMethod && d.resp.Status/100 == 2 {
		return e.leaveHTTP(x, size, in, out)
	}
	if d.resp.Status < 200 {
		return size, true, e.passHead(x, verbatim, out)
	}
	how, why := treatment(&d.head, &d.resp, x)
	if how == asJSON {
		switch e.foresee(in[size:], x) {
		case unseen:
			return e.await(in[:size])
		case hopeless:
			how, why = unreadable(&d.resp, errJSON.Error())
		}
	}
	d.waiting = nil
	if how == refused {
		return e.withhold(x, why, in, out)
	}
	if err := e.passHead(x, how, out); err != nil {
		return 0, false, err
	}
	e.beginBody(x, how, out)
	return size, true, nil
}

// leaveHTTP turns the connection into a tunnel, if its request was allowed to.
func (e *Engine) leaveHTTP(x *exchange, size int, in []byte, out *interceptor.Output) (int, bool, error) {
	if !x.raise {
		return e.withhold(x, "the server left HTTP without being asked", in, out)
	}
	if err := e.passHead(x, verbatim, out); err != nil {
		return 0, false, err
	}
	e.line.pop()
	e.down.state, e.up.state = downTunnel, upTunnel
	e.wakeClient(out)
	return size, true, nil
}

// beginBody sets the state that the body is read in.
func (e *Engine) beginBody(x *exchange, how passage, out *interceptor.Output) {
	d := &e.down
	d.body.Begin(d.resp.Framing)
	d.taken = e.session.Level != rules.RecordStatements
	// A client that still waits for 100 may never send its body: what comes next from
	// it could be either, so nothing does.
	d.shut = d.bare || x.last || x.expect && !x.went
	d.state = downBody
	if how == verbatim {
		d.scrub = nil
	} else if !d.body.Done() {
		d.state = downScrub
		d.scrub = e.newScrubber(x.masks, how)
	}
	if x.raise {
		e.up.state = upHead // the server declined
		if e.up.close {
			e.up.state = upDeaf
		}
		e.wakeClient(out)
	}
	if d.body.Done() {
		e.finish(d.shut, out)
	}
}

// passHead releases a response head, with masked fields masked.
func (e *Engine) passHead(x *exchange, how passage, out *interceptor.Output) error {
	d := &e.down
	changed := e.editResponse(x, how)
	if err := e.reel.bytes(interceptor.Down, d.taped); err != nil {
		return err
	}
	if changed {
		out.Put(d.wire)
		return nil
	}
	out.Pass(d.head.Raw)
	return nil
}

func (e *Engine) passResponse(in []byte, out *interceptor.Output) (int, bool, error) {
	if len(in) == 0 {
		return 0, false, nil
	}
	d := &e.down
	n, fault := d.body.Span(in)
	if err := e.reel.body(interceptor.Down, in[:n], d.taken); err != nil {
		return 0, false, err
	}
	out.Pass(in[:n])
	if fault != nil || !d.body.Done() {
		out.Gather = true
		return n, false, fault
	}
	if err := e.reel.close(interceptor.Down); err != nil {
		return 0, false, err
	}
	e.finish(d.shut, out)
	return n, true, nil
}

// chunkRoom is the room for a chunk's size: eight hex digits and CR LF.
const chunkRoom = 10

// scrubResponse sends a body through its scrubber, and the result as one chunk.
func (e *Engine) scrubResponse(in []byte, out *interceptor.Output) (int, bool, error) {
	if len(in) == 0 {
		return 0, false, nil
	}
	d := &e.down
	d.wire = append(d.wire[:0], "00000000\r\n"...)
	n := 0
	for n < len(in) && !d.body.Done() {
		k, content, err := d.body.Next(in[n:])
		if err != nil {
			return 0, false, err
		}
		if d.wire, err = d.scrub.write(d.wire, content); err != nil {
			return 0, false, err
		}
		n += k
	}
	done := d.body.Done()
	if err := e.releaseScrubbed(done, out); err != nil {
		return 0, false, err
	}
	if done {
		e.finish(d.shut, out)
	}
	return n, done, nil
}

// releaseScrubbed records and releases what stands in d.wire behind the room for a size.
func (e *Engine) releaseScrubbed(done bool, out *interceptor.Output) (err error) {
	d := &e.down
	if done {
		if d.wire, err = d.scrub.close(d.wire); err != nil {
			return err
		}
	}
	b := d.wire
	size := len(b) - chunkRoom
	switch {
	case d.bare:
		b = b[chunkRoom:]
	case size == 0:
		b = b[:0]
	default:
		var digits [16]byte
		hex := strconv.AppendUint(digits[:0], uint64(size)|1<<32, 16) // nine digits; the first keeps the zeros
		copy(b, hex[1:])
		b = append(b, "\r\n"...)
	}
	if done && !d.bare {
		b = append(b, "0\r\n\r\n"...)
	}
	if err := e.reel.body(interceptor.Down, b, d.taken); err != nil {
		return err
	}
	out.Put(b)
	d.wire = shrink(d.wire)
	if done {
		return e.reel.close(interceptor.Down)
	}
	return nil
}

// trim gives a buffer back that an idle connection should not keep.
func trim(b []byte) []byte {
	if cap(b) > 8<<10 {
		return nil
	}
	return b
}

// shrink gives a large buffer back.
func shrink(b []byte) []byte {
	if cap(b) > 256<<10 {
		return nil
	}
	return b
}

// lastResponse finishes what can be finished when the server is at its end.
func (e *Engine) lastResponse(out *interceptor.Output) error {
	d := &e.down
	if err := e.awaited(out); err != nil {
		return err
	}
	if d.resp.Framing.By == wire.ByClose && d.state == downScrub {
		d.wire = append(d.wire[:0], "00000000\r\n"...)
		if err := e.releaseScrubbed(true, out); err != nil {
			return err
		}
	}
	if d.state != downHead {
		return nil // a body that was cut off stays cut off
	}
	for x := e.line.front(); x != nil && x.local; x = e.line.front() {
		if err := e.sayLocal(x, out); err != nil {
			return err
		}
	}
	if e.line.count == 0 && (e.up.state == upAsked || e.up.state == upJudged) {
		return e.sayGone(out)
	}
	return nil
}

// sayGone answers a request that was held until the server lost patience.
func (e *Engine) sayGone(out *interceptor.Output) error {
	e.up.state = upDeaf
	x := e.line.push(exchange{local: true, method: e.up.method, answer: problem{
		status: 503, kind: "gone", title: "The server closed the connection",
		detail: "the server closed the connection before the request was decided; repeat the identical request", retry: retryAfter, shut: true,
	}})
	return e.sayLocal(x, out)
}
