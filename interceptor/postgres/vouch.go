package postgres

import (
	"encoding/binary"

	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// A function may give a name we know to something else: DEALLOCATE and PREPARE, or close a cursor
// and open another. What SQL prepared is marked as that (from_sql), and a cursor shows its
// text. So once such code may have run, a name is vouched for by the server before it is used again:
// in the client's own batch, by a statement that fails if the name is not the client's any more.
// What does nothing else to the session is 1 divided by the length of nothing, for every row.
const (
	vouchStatement = `select 1 operator(pg_catalog./) pg_catalog.octet_length(pg_catalog.substr(name, 1, 0)) from pg_catalog.pg_prepared_statements
where from_sql and name operator(pg_catalog.=) $1::pg_catalog.text`
	vouchPortal = `select 1 operator(pg_catalog./) pg_catalog.octet_length(pg_catalog.substr(name, 1, 0)) from pg_catalog.pg_cursors
where name operator(pg_catalog.=) $1::pg_catalog.text and statement operator(pg_catalog.<>) $2::pg_catalog.text`
	divisionByZero = "22012"
)

// maxName is the longest name the server tells from others, in bytes (NAMEDATALEN - 1).
const maxName = 63

// odd says that a name may be another one for the server: cut short, or in another encoding than when
// it was given.
func odd[T string | []byte](name T) bool { return len(name) > maxName || hasHigh(name) }

// vouched has the server say that a name is still the client's statement. It waits where the
// transaction may have failed meanwhile: in one that did only its end can run.
func (e *engine) vouched(w *walk, name []byte, s *statement) bool {
	if !s.known || len(name) == 0 || s.sure == e.renames {
		return true
	}
	if e.queue.n > 0 && e.ends(e.queue.at(e.queue.n-1)) {
		e.stalled, e.drain, w.out.Stalled = true, true, true
		return false
	}
	if e.status == 'E' && !e.lexing.tuned && s.j.traits&reverts != 0 {
		return true
	}
	e.vouch(w, s, vouchStatement, name)
	s.sure, s.batch = e.renames, e.sent
	return true
}

// vouchedPortal is vouched for a portal that is about to run.
func (e *engine) vouchedPortal(w *walk, name []byte, p portal) {
	known, ok := e.portals[string(name)]
	if !ok || p.sure == e.renames {
		return
	}
	e.vouch(w, p.stmt, vouchPortal, name, []byte(p.stmt.j.text))
	known.sure = e.renames
	e.portals[string(name)] = known
}

// vouch sends a statement of our own ahead of the client's message.
func (e *engine) vouch(w *walk, s *statement, text string, values ...[]byte) {
	name := failingName()
	batch := wire.AppendParse(nil, name, text)
	batch = appendBind(batch, name, values)
	batch = wire.AppendExecute(batch, name)
	batch = wire.AppendClose(batch, 'P', name)
	batch = wire.AppendClose(batch, 'S', name)
	for _, step := range []step{stepParse, stepBind, stepExecute, stepClose, stepClose} {
		o := owed{step: step, swallow: true}
		if step == stepExecute {
			o.vouches = s
		}
		e.queue.push(o)
	}
	w.put(batch)
}

// appendBind is a Bind of a portal and a statement of one name, with values as text.
func appendBind(dst []byte, name string, values [][]byte) []byte {
	m, at := wire.Begin(dst, 'B')
	m = append(append(append(append(m, name...), 0), name...), 0)
	m = append(m, 0, 0)
	m = binary.BigEndian.AppendUint16(m, uint16(len(values)))
	for _, v := range values {
		m = append(binary.BigEndian.AppendUint32(m, uint32(len(v))), v...)
	}
	return wire.End(append(m, 0, 0), at)
}

// disowned is what is said when a name is not the client's any more.
func (e *engine) disowned(s *statement) (*refusal, error) {
	const why = "code that ran in the database gave its name to something else"
	r := &refusal{code: "42501", message: "chaperone refused this statement: " + why, detail: "Rule: (names)", hint: "Prepare it under another name."}
	j := *s.j
	j.answer.Verdict, j.answer.Rule = flow.Deny, "(names)"
	return r, e.unaskable(&j, why)
}
