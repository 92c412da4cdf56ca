package postgres

import (
	"strings"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/rules"
)

// bind lets a portal stand for a statement with parameters, however large these are.
//
//	portal \0 | statement \0 | parameter formats | parameters | result formats
func (e *engine) bind(w *walk, size int) (bool, error) {
	name, ok, err := peekName(w, size, wire.HeaderSize)
	if !ok || err != nil {
		return false, err
	}
	from, ok, err := peekName(w, size, wire.HeaderSize+len(name)+1)
	if !ok || err != nil {
		return false, err
	}
	if ok, err := e.boundary(w); !ok || err != nil {
		return false, err
	}
	s := e.statement(from)
	if s == nil {
		e.absent(w, size, "26000", "unnamed prepared statement")
		return true, nil
	}
	if e.asked == nil && s.known && e.awaits(w, s.batch) {
		return false, nil
	}
	if len(e.portals) >= maxNames {
		return false, violation{"too many portals"}
	}
	p := portal{stmt: s, plan: e.newPlan(), batch: e.sent, sure: e.renames}
	if p.bound, ok, err = e.heldBack(w, s, size, wire.HeaderSize+len(name)+1+len(from)+1); !ok || err != nil {
		return false, err
	}
	if len(name) > 0 && p.bound != nil {
		// SQL's FETCH can run it as well: it is decided before there is such a portal.
		if p.j, ok, err = e.again(w, &p); !ok || err != nil {
			return false, err
		}
		if p.bound = nil; p.j.denied() {
			e.refuse(w, size, p.j.refusal(), failing(p.j.answer), bindStub(name, from))
			return true, nil
		}
	}
	if !e.vouched(w, from, s) {
		return false, nil
	}
	e.lexing.stir(s.j)
	if len(name) > 0 {
		e.cursors |= s.j.traits &^ fetches
	}
	if !e.setPortal(name, p) {
		return false, violation{"portals take too much memory"}
	}
	e.queue.push(owed{step: stepBind})
	if e.s.Level != rules.RecordFull {
		w.pass()
		e.omitted[interceptor.Up] = true
		e.reels[interceptor.Up].put(bindStub(name, from))
	}
	e.send(w, size)
	return true, nil
}

// bindStub is a Bind without parameters, for a tape that must not have them.
func bindStub(portal, statement []byte) []byte {
	m, at := wire.Begin(nil, 'B')
	m = append(append(m, portal...), 0)
	m = append(append(m, statement...), 0)
	return wire.End(append(m, 0, 0, 0, 0, 0, 0), at)
}

// statement finds what a name stands for. One that did not come through Parse may have come
// through SQL: it is judged as the EXECUTE it is. nil: there is none.
func (e *engine) statement(name []byte) *statement {
	if len(name) == 0 {
		return e.unnamed
	}
	if s := e.statements[string(name)]; s != nil && !s.replaced && !odd(name) {
		return s
	}
	return &statement{j: &judged{text: "EXECUTE " + quoted(name)}, renamed: true}
}

func quoted(name []byte) string { return `"` + strings.ReplaceAll(string(name), `"`, `""`) + `"` }

// peekName reads the name at offset at of the message that begins here. It waits until it is there.
func peekName(w *walk, size, at int) (name []byte, ok bool, err error) {
	body := w.in[w.pos:min(len(w.in), w.pos+size)]
	if len(body) > at {
		if name, _, ok = wire.CString(body[at:]); ok && len(name) <= maxSmall {
			return name, true, nil
		}
	}
	if len(body) == size || len(body) > at+maxSmall {
		return nil, false, violation{"a name that does not end"}
	}
	return nil, false, nil
}
