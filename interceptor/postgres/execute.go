package postgres

import (
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
)

// execute runs a portal.
//
//	portal \0 | int32 rows
func (e *engine) execute(w *walk, size int) (bool, error) {
	ok, err := whole(w, size)
	if !ok || err != nil {
		return false, err
	}
	name, rest, ok := wire.CString(w.in[w.pos+wire.HeaderSize : w.pos+size])
	if !ok || len(rest) != 4 {
		return false, violation{"an Execute that contradicts itself"}
	}
	if ok, err = e.boundary(w); !ok || err != nil {
		return false, err
	}
	p := e.unbound
	if len(name) > 0 {
		p = e.portal(name)
	}
	if p.stmt == nil {
		e.absent(w, size, "34000", `portal ""`)
		return true, nil
	}
	if e.asked == nil && e.awaits(w, p.batch) {
		return false, nil
	}
	j := p.j
	if j == nil || !p.started && j.answer.Generation != e.generation() {
		if j, ok, err = e.again(w, &p); !ok || err != nil {
			return false, err
		}
	}
	if j.denied() {
		e.refuse(w, size, j.refusal(), failing(j.answer), nil)
		return true, nil
	}
	if r := e.unshowable(j, p.plan); r != nil {
		if err := e.hide(j, r); err != nil {
			return false, err
		}
		e.refuse(w, size, r, failing(j.answer), nil)
		return true, nil
	}
	e.fed = false
	e.vouchedPortal(w, name, p)
	e.start(name, j)
	e.plan(w, name, &p)
	e.run(w, j)
	e.queue.push(owed{step: stepExecute, stmt: p.stmt, plan: p.plan, others: j.traits&finishes != 0})
	e.send(w, size)
	return true, nil
}

// portal finds a named portal. One that no Bind made may be an SQL cursor.
func (e *engine) portal(name []byte) portal {
	if p, ok := e.portals[string(name)]; ok && !odd(name) && (p.sure == e.renames || !p.stmt.j.partial) {
		return p
	}
	s := &statement{j: &judged{text: "FETCH ALL FROM " + quoted(name)}, renamed: true}
	return portal{stmt: s, plan: e.newPlan(), bound: &bound{}, batch: e.sent}
}

// start notes that a portal runs: going on with it later is the same run.
func (e *engine) start(name []byte, j *judged) {
	if len(name) == 0 {
		e.unbound.started, e.unbound.j, e.unbound.bound = true, j, nil
		return
	}
	if p, ok := e.portals[string(name)]; ok && !p.started {
		p.started, p.j = true, j
		e.keepPortal(string(name), p)
	}
}

// portalSize is about what a portal keeps besides texts, in bytes.
const portalSize = 512

// size is what a portal's name keeps, in bytes: its statement may be closed, and its run has a
// reading of its own.
func (p portal) size() int {
	n := portalSize + len(p.stmt.j.text)
	if p.j != nil && p.j != p.stmt.j {
		n += len(p.j.text) + p.j.reading.Size()
	}
	return n
}

// setPortal lets a portal name stand for p; false when that would keep too much.
func (e *engine) setPortal(name []byte, p portal) bool {
	if len(name) == 0 {
		e.unbound, e.described = p, false
		return true
	}
	if e.portals == nil {
		e.portals = map[string]portal{}
	}
	e.keepPortal(string(name), p)
	return e.held <= maxNamedBytes
}

func (e *engine) keepPortal(key string, p portal) {
	e.dropPortal(key)
	p.cost = p.size()
	e.portals[key] = p
	e.held += p.cost
}

func (e *engine) dropPortal(key string) {
	if p, ok := e.portals[key]; ok {
		e.held -= p.cost
		delete(e.portals, key)
	}
}
