package postgres

import (
	"bytes"
	"fmt"

	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
)

// tooLong refuses what would be held.
const tooLong = "A text this long cannot be approved, since nobody sees all of it."

// query takes a simple Query: all of its statements are judged before any is sent.
//
//	text \0
func (e *engine) query(w *walk, size int) (bool, error) {
	text, partial, ok, err := lookAt(w, size, wire.HeaderSize)
	if !ok || err != nil {
		return false, err
	}
	if !partial && bytes.IndexByte(text, 0) != len(text)-1 {
		return false, violation{"a text that does not end where its message does"}
	}
	if ok, err := e.boundary(w); !ok || err != nil {
		return false, err
	}
	j, ok, err := e.judge(w, asking{text: bytes.TrimSuffix(text, []byte{0}), partial: partial, whole: true})
	if !ok || err != nil {
		return false, err
	}
	if j.held() {
		if err := e.unaskable(j, tooLong); err != nil {
			return false, err
		}
	}
	e.begins(partial, 1)
	e.fed = false
	e.sent++
	e.unbound, e.unnamed = portal{}, nil // the server drops both
	if j.denied() {
		e.queue.push(owed{step: stepQuery, refusal: j.refusal()})
		e.replace(w, size, e.tapedQuery(j), wire.AppendQuery(nil, failing(j.answer)))
		return true, nil
	}
	s, p := &statement{j: j, known: true}, e.newPlan()
	if r := e.unshowable(j, p); r != nil {
		if err := e.hide(j, r); err != nil {
			return false, err
		}
		e.queue.push(owed{step: stepQuery, refusal: r})
		e.replace(w, size, e.tapedQuery(j), wire.AppendQuery(nil, failing(j.answer)))
		return true, nil
	}
	// It ends the transaction of a batch without a Sync as well.
	others := e.batching || j.traits&finishes != 0 && (e.status != 'I' || e.queue.n > 0)
	e.queue.push(owed{step: stepQuery, stmt: s, plan: p, others: others})
	e.run(w, j)
	e.resetHere = false // by the time of the next text its own transaction is over anyway
	e.sendTaped(w, size, e.tapedQuery(j))
	return true, nil
}

// lookAt gives the text of the message of size bytes, from offset from on, or how it
// begins when it is too long to be read. It waits until it is there.
func lookAt(w *walk, size, from int) (text []byte, partial, ok bool, err error) {
	if size <= from {
		return nil, false, false, violation{"a message without its text"}
	}
	need := size
	if size > maxText {
		need, partial = prefixText, true
	}
	if w.left() < need {
		return nil, partial, false, nil
	}
	return w.in[w.pos+from : w.pos+need], partial, true, nil
}

// run marks bytes that run a text.
func (e *engine) run(w *walk, j *judged) {
	w.out.Durable = w.out.Durable || j.answer.Durable
	if e.ran(j); j.traits&launders != 0 && !e.suspected && e.catalog != nil {
		e.suspected = true
		e.catalog.launder(e.cancel.pid) // before anybody can hear of it
	}
}

// tapedQuery is how a Query goes on tape: nil for as it came.
func (e *engine) tapedQuery(j *judged) []byte {
	if text, same := j.redacted(); !same {
		return wire.AppendQuery(nil, text)
	}
	return nil
}

// redacted is j's text without its secrets; same when it has none.
func (j *judged) redacted() (text string, same bool) {
	switch {
	case j.reading == nil:
		return fmt.Sprintf("(a text of %d bytes that could not be read)", len(j.text)), false
	case j.partial, j.reading.Redacted == j.text:
		return "", true
	}
	return clean(j.reading.Redacted), false
}

// sendTaped forwards a message that is taped differently, where taped is not nil.
func (e *engine) sendTaped(w *walk, size int, taped []byte) {
	if taped == nil {
		e.send(w, size)
		return
	}
	w.passAs(size, taped)
}
