package postgres

import (
	"encoding/binary"
	"fmt"

	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// function takes a FunctionCall: an OID and arguments, and no text.
//
//	int32 OID | ...
func (e *engine) function(w *walk, size int) (bool, error) {
	if size < wire.HeaderSize+4 {
		return false, violation{"a FunctionCall without a function"}
	}
	if w.left() < wire.HeaderSize+4 {
		return false, nil
	}
	if ok, err := e.boundary(w); !ok || err != nil {
		return false, err
	}
	j := e.asked
	if j == nil {
		j = &judged{request: e.request(flow.KindFunctionCall)}
		j.request.Function = binary.BigEndian.Uint32(w.in[w.pos+wire.HeaderSize:])
		j.request.Effects = []flow.Effect{{Action: flow.Execute, Object: fmt.Sprintf("oid %d", j.request.Function)}}
		j.request.Changes, j.request.Fingerprint = true, once()
		w.pass()
		e.asked, w.out.Question = j, j.known
		return false, nil
	}
	if !j.settled {
		return false, nil
	}
	e.asked = nil
	if err := e.note(j); err != nil {
		return false, err
	}
	e.sent++
	r := refusalOf(j.answer, thisFunctionCall)
	if !j.denied() && e.masking() {
		// What a function returns has no columns: with masks nobody can say what it shows.
		r = &refusal{code: "42501", message: "chaperone refused this function call: its target has masks", detail: "Rule: (masks)"}
		if err := e.hide(j, r); err != nil {
			return false, err
		}
	}
	if j.denied() || e.masking() {
		e.queue.push(owed{step: stepQuery, refusal: r})
		e.replace(w, size, nil, wire.AppendQuery(nil, failing(j.answer)))
		return true, nil
	}
	e.queue.push(owed{step: stepFunction})
	e.leaveOut(w)
	e.run(w, j)
	e.send(w, size)
	return true, nil
}
