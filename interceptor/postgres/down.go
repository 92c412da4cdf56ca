package postgres

import (
	"strings"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/rules"
)

// feedDown walks what the server sends.
func (e *engine) feedDown(w *walk) error {
	if e.phase == startup {
		return nil // the server waits for the startup packet, and so do we
	}
	for {
		if e.phase == raw {
			e.release(w)
			e.rawFeed(w)
			return nil
		}
		if e.rest[interceptor.Down] > 0 && !w.stream() {
			return nil
		}
		w.settle()
		e.release(w)
		if w.left() < wire.HeaderSize {
			return nil
		}
		size, err := wire.Size(w.in[w.pos:])
		if err != nil {
			return violation{"the server sent a length that cannot be"}
		}
		ok, err := e.down(w, w.in[w.pos], size)
		if !ok || err != nil {
			return err
		}
	}
}

// release puts what waits for the client at a message boundary.
func (e *engine) release(w *walk) {
	if len(e.notices) > 0 {
		w.pass()
		w.out.Put(e.notices)
		if e.phase == ready {
			e.reels[interceptor.Down].put(e.notices)
		}
		e.notices = e.notices[:0]
	}
}

// down takes one message; false means that more of it has to come.
func (e *engine) down(w *walk, typ byte, size int) (bool, error) {
	if e.phase == login {
		return e.loginDown(w, typ, size)
	}
	switch typ {
	case 'D':
		return e.row(w, size)
	case 'd':
		return e.copyData(w, size)
	case 'E':
		return e.failed(w, size)
	case 'Z':
		return e.readyAgain(w, size)
	case 'N', 'A':
		return e.said(w, typ, size)
	case 'S':
		return e.tuned(w, size)
	}
	return e.answered(w, typ, size)
}

// expects lists the answers a step can get besides rows and errors.
func (s step) expects() string {
	switch s {
	case stepParse:
		return "1"
	case stepBind:
		return "2"
	case stepClose:
		return "3"
	case stepDescribeStatement:
		return "tTn"
	case stepDescribePortal:
		return "Tn"
	case stepExecute:
		return "CIsGHc"
	case stepQuery:
		return "TCIGHc"
	case stepFunction:
		return "V"
	}
	return ""
}

// answered takes an answer that belongs to the first thing the server owes.
func (e *engine) answered(w *walk, typ byte, size int) (bool, error) {
	o := e.queue.first()
	if o == nil || o.refusal != nil || strings.IndexByte(o.step.expects(), typ) < 0 {
		return false, violation{"the server answered what nobody asked"}
	}
	swallow := o.swallow
	switch typ {
	case 'T', 'n':
		if ok, err := e.shape(w, o, typ, size); !ok || err != nil {
			return false, err
		}
	case 't':
		if ok, err := e.learn(w, o, size); !ok || err != nil {
			return false, err
		}
	case 'G', 'H':
		if ok, err := e.copies(w, o, typ, size); !ok || err != nil {
			return false, err
		}
	case '1':
		e.carriedOut(o)
	case 'C':
		o.heard, e.early = true, 0
	case 'I', 'V':
		o.heard = true
	case 'c':
		if !e.copyOut {
			return false, violation{"the server ended a copy that was not"}
		}
		e.copyOut = false
	}
	if swallow && typ == 'C' && e.load != nil {
		e.load.query++
	}
	if ends(o.step, typ) {
		e.popped(w)
	}
	e.receive(w, size, swallow)
	return true, nil
}

// ends says whether an answer is its step's last.
func ends(s step, typ byte) bool {
	switch s {
	case stepQuery, stepFunction:
		return false // ReadyForQuery is
	case stepExecute:
		return typ == 'C' || typ == 'I' || typ == 's'
	case stepDescribeStatement:
		return typ != 't'
	}
	return true
}

// popped takes the first entry off, and lets Up go on that waited for it.
func (e *engine) popped(w *walk) {
	e.queue.pop()
	if e.stalled && (e.queue.n == 0 || !e.drain && e.queue.n < maxOwed/2) {
		e.stalled, e.drain = false, false
		w.out.Kick = true
	}
}

// receive forwards a message of which no more has to be seen, or swallows it.
func (e *engine) receive(w *walk, size int, swallow bool) {
	if swallow {
		w.pass()
		e.drop[interceptor.Down] = true
	}
	e.rest[interceptor.Down] = size
}

// row takes a row of a result.
func (e *engine) row(w *walk, size int) (bool, error) {
	o := e.queue.first()
	if o != nil && o.swallow {
		return e.loadedRow(w, size)
	}
	if o == nil || o.refusal != nil || o.step != stepExecute && o.step != stepQuery || e.copyIn || e.copyOut {
		return false, violation{"the server sent a row nobody asked for"}
	}
	w.out.Gather = true
	if e.s.Level == rules.RecordStatements {
		w.pass()
		e.omitted[interceptor.Down] = true
	}
	if o.plan != nil {
		return e.maskRow(w, o, size)
	}
	e.rest[interceptor.Down] = size
	return true, nil
}

// copyData takes a piece of what COPY sends.
func (e *engine) copyData(w *walk, size int) (bool, error) {
	o := e.queue.first()
	if o == nil || !e.copyOut {
		return false, violation{"the server sent copy data nobody asked for"}
	}
	w.out.Gather = true
	if e.s.Level == rules.RecordStatements {
		w.pass()
		e.omitted[interceptor.Down] = true
	}
	if o.plan != nil {
		return e.maskCopy(w, o, size)
	}
	e.rest[interceptor.Down] = size
	return true, nil
}

// copies notes that a copy begins.
func (e *engine) copies(w *walk, o *owed, typ byte, size int) (bool, error) {
	if o.swallow || e.copyOut || e.copyIn {
		return false, violation{"the server began a copy inside another"}
	}
	if typ == 'H' {
		if e.recheck(); o.plan != nil && e.dirty && e.s.Masks.HasColumns() {
			return false, violation{"definitions changed while a copy began"}
		}
		e.copyOut = true
		return true, nil
	}
	dropped, ended, ok := e.queue.copyIn()
	if !ok {
		return false, violation{"the client sent more statements where the server reads copy data"}
	}
	e.copyIn = !ended
	e.done += dropped // nothing answers them
	e.early, e.spare = dropped, 0
	if e.stalled { // what Up waits for may have been among them, and the server waits for Up
		e.stalled, e.drain, e.until, w.out.Kick = false, false, 0, true
	}
	return true, nil
}

// readyAgain takes a ReadyForQuery: a batch is over.
func (e *engine) readyAgain(w *walk, size int) (bool, error) {
	if size != 6 {
		return false, violation{"the server sent a bad ReadyForQuery"}
	}
	if w.left() < size {
		return false, nil
	}
	o := e.queue.first()
	if o == nil || !e.ends(o) || o.step != stepSync && !o.heard || e.copyIn || e.copyOut {
		return e.readyEarly(w, size)
	}
	swallow := o.swallow
	e.status = w.in[w.pos+5]
	w.out.Gather = false
	e.popped(w)
	if !swallow {
		e.done++
	}
	if e.stalled && e.until > 0 && e.done >= e.until {
		e.stalled, e.drain, e.until, w.out.Kick = false, false, 0, true
	}
	if e.status == 'I' {
		e.lapse()
	}
	e.settled()
	e.receive(w, size, swallow)
	return true, nil
}

// readyEarly takes a ReadyForQuery that answers a Sync ahead of copy data, which the server did not come
// to read before the copy failed. Where a later Sync was taken to be answered by it, this one is for that.
func (e *engine) readyEarly(w *walk, size int) (bool, error) {
	if e.spare == 0 || e.copyIn || e.copyOut {
		return false, violation{"the server is ready when nobody asked"}
	}
	e.spare--
	e.status = w.in[w.pos+5]
	if e.queue.n == 0 {
		e.discard = false
	}
	e.receive(w, size, false)
	return true, nil
}

// copyFailed notes that a copy failed of which the server may not have read all. Where it skips to is
// not known then: to a Sync ahead of the data, or the one behind it. Between the two nothing may stand that it
// would run in the one case only.
func (e *engine) copyFailed(o *owed) error {
	if e.early == 0 {
		return nil
	}
	e.spare, e.early = e.early, 0
	if o != nil && o.step == stepExecute && e.queue.runsOn() {
		return violation{"statements behind a copy that failed, and no Sync between"}
	}
	return nil
}

// tuned takes a ParameterStatus.
func (e *engine) tuned(w *walk, size int) (bool, error) {
	if size > maxLogin {
		return false, violation{"a parameter status is too long"}
	}
	if w.left() < size {
		return false, nil
	}
	e.lexing.heed(w.in[w.pos+wire.HeaderSize : w.pos+size])
	return e.said(w, 'S', size)
}

// failed takes an ErrorResponse.
func (e *engine) failed(w *walk, size int) (bool, error) {
	w.out.Gather = false
	o := e.queue.first()
	if o != nil && (o.refusal != nil || o.vouches != nil) {
		return e.failedAsMeant(w, o, size)
	}
	if err := e.copyFailed(o); err != nil {
		return false, err
	}
	if ok, err := e.scrub(w, o, 'E', size); !ok || err != nil {
		return false, err
	}
	e.dropBatch(w, o)
	return true, nil
}

// failedAsMeant says in our words why a refused message failed.
func (e *engine) failedAsMeant(w *walk, o *owed, size int) (bool, error) {
	if size > maxLogin {
		return false, violation{"the server failed at length"}
	}
	if w.left() < size {
		return false, nil
	}
	fields, err := wire.ErrorFields(w.in[w.pos+wire.HeaderSize : w.pos+size])
	if err != nil {
		return false, violation{"the server sent a bad error"}
	}
	if s := fields.SeverityUnlocalized; s == "FATAL" || s == "PANIC" {
		w.pos += size
		return true, nil
	}
	if o.vouches != nil {
		if fields.Code != divisionByZero {
			w.pos += size
			e.dropBatch(w, o)
			return true, nil
		}
		if o.refusal, err = e.disowned(o.vouches); err != nil {
			return false, err
		}
	}
	says := o.refusal.response(nil, "ERROR")
	w.skip(size)
	w.out.Put(says)
	e.reels[interceptor.Down].put(says)
	e.dropBatch(w, o)
	return true, nil
}

// dropBatch follows the server, which after an error skips to the next Sync.
func (e *engine) dropBatch(w *walk, o *owed) {
	e.copyIn, e.copyOut = false, false
	for name, p := range e.portals {
		if p.batch <= e.done {
			e.dropPortal(name)
		}
	}
	if e.unbound.batch <= e.done {
		e.unbound = portal{}
	}
	if o == nil {
		return // it was the server's last word
	}
	if o.step == stepQuery || o.step == stepFunction {
		o.heard = true
		return // its ReadyForQuery comes
	}
	for e.queue.n > 0 {
		o := e.queue.at(0)
		if o.step == stepSync {
			return
		}
		if o.step == stepParse {
			e.forget(o)
		}
		if o.vouches != nil {
			o.vouches.sure = -1 // nobody has said so
		}
		if o.step == stepQuery || o.step == stepFunction {
			e.done++ // skipped as well
		}
		e.popped(w)
	}
	e.discard = true
}

// lapse forgets the portals of batches that are over, and that there is something to take back: outside
// of a transaction the server has neither.
func (e *engine) lapse() {
	if e.queue.n == 0 {
		e.reset = false
	}
	for name, p := range e.portals {
		if p.batch < e.done {
			e.dropPortal(name)
		}
	}
}
