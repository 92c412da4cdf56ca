package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

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
	j, ok, err := e.judge(w, bytes.TrimSuffix(text, []byte{0}), partial)
	if !ok || err != nil {
		return false, err
	}
	e.fed = false
	e.sent++
	e.unbound, e.unnamed = portal{}, nil // the server drops both
	if j.denied() {
		e.queue.push(owed{step: stepQuery, refusal: refusalOf(j.answer)})
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
	e.queue.push(owed{step: stepQuery, stmt: s, plan: p})
	e.run(w, j)
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
	e.ran(j)
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
	w.pass()
	w.out.Pass(w.in[w.pos : w.pos+size])
	e.reels[interceptor.Up].put(taped)
	w.pos += size
	w.run = w.pos
}

// parse takes a statement to be prepared. It is judged here.
//
//	name \0 | text \0 | int16 n | n x int32 type
func (e *engine) parse(w *walk, size int) (bool, error) {
	name, ok, err := peekName(w, size, wire.HeaderSize)
	if !ok || err != nil {
		return false, err
	}
	from := wire.HeaderSize + len(name) + 1
	text, partial, ok, err := lookAt(w, size, from)
	if !ok || err != nil {
		return false, err
	}
	var types []byte
	if !partial {
		if text, types, ok = wire.CString(text); !ok || len(types) < 2 || len(types) != 2+4*int(binary.BigEndian.Uint16(types)) {
			return false, violation{"a Parse that contradicts itself"}
		}
	}
	if ok, err := e.boundary(w); !ok || err != nil {
		return false, err
	}
	j, ok, err := e.judge(w, text, partial)
	if !ok || err != nil {
		return false, err
	}
	var taped []byte
	if text, same := j.redacted(); !same {
		taped = appendParse(name, text, types)
	}
	if len(e.statements) >= maxNames {
		return false, violation{"too many prepared statements"}
	}
	if j.denied() {
		e.refuse(w, size, refusalOf(j.answer), failing(j.answer), taped)
		return true, nil
	}
	s := &statement{j: j, known: true, fresh: true, batch: e.sent}
	e.queue.push(owed{step: stepParse, stmt: s, name: e.name(name, s)})
	e.sendTaped(w, size, taped)
	return true, nil
}

func appendParse(name []byte, text string, types []byte) []byte {
	m, at := wire.Begin(nil, 'P')
	m = append(append(m, name...), 0)
	m = append(append(m, text...), 0)
	return wire.End(append(m, types...), at)
}

// Bounds of what named statements and portals take. A statement over maxNamedBytes runs
// under its answer, and is refused when it would have to be judged again.
const (
	maxNames      = 1 << 16
	maxNamedBytes = 16 << 20
)

// unname forgets a statement name.
func (e *engine) unname(key string) {
	if s := e.statements[key]; s != nil {
		e.bytes -= len(s.j.text)
		delete(e.statements, key)
	}
}

// name lets name stand for s.
func (e *engine) name(name []byte, s *statement) string {
	if len(name) == 0 {
		e.unnamed = s
		return ""
	}
	if e.statements == nil {
		e.statements = map[string]*statement{}
	}
	key := string(name)
	e.prepared.spoil(key)
	e.unname(key)
	if e.bytes += len(s.j.text); e.bytes > maxNamedBytes {
		short := *s.j
		short.text, short.reading, short.partial = "", nil, true
		e.bytes -= len(s.j.text)
		s.j = &short
	}
	e.statements[key] = s
	return key
}

// forget takes back a name whose Parse the server did not carry out.
func (e *engine) forget(o *owed) {
	if o.name == "" && e.unnamed == o.stmt {
		e.unnamed = nil
	}
	if o.name != "" && e.statements[o.name] == o.stmt {
		e.unname(o.name)
	}
}

// refuse replaces an extended message by one that fails. From there to the
// next Sync the server skips everything, and so do we.
func (e *engine) refuse(w *walk, size int, r *refusal, text string, taped []byte) {
	e.queue.push(owed{step: stepParse, refusal: r})
	e.replace(w, size, taped, wire.AppendParse(nil, failingName(), text))
	e.discard = true
}

// absent refuses what names something the server does not have either.
func (e *engine) absent(w *walk, size int, code, what string) {
	r := &refusal{code: code, message: what + " does not exist"}
	e.refuse(w, size, r, "chaperone knows no such name", nil)
}

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
	if s.known && e.awaits(w, s.batch) {
		return false, nil
	}
	if len(e.portals) >= maxNames {
		return false, violation{"too many portals"}
	}
	p := portal{stmt: s, plan: e.newPlan(), batch: e.sent}
	if len(name) == 0 {
		e.unbound, e.described = p, false
	} else {
		if e.portals == nil {
			e.portals = map[string]portal{}
		}
		e.portals[string(name)] = p
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
	if s := e.statements[string(name)]; s != nil {
		return s
	}
	return &statement{j: &judged{text: "EXECUTE " + quoted(name)}, renamed: true}
}

func quoted(name []byte) string { return `"` + strings.ReplaceAll(string(name), `"`, `""`) + `"` }

// execute runs a portal.
//
//	portal \0 | int32 rows
func (e *engine) execute(w *walk, size int) (bool, error) {
	if ok, err := whole(w, size); !ok || err != nil {
		return false, err
	}
	name, rest, ok := wire.CString(w.in[w.pos+wire.HeaderSize : w.pos+size])
	if !ok || len(rest) != 4 {
		return false, violation{"an Execute that contradicts itself"}
	}
	if ok, err := e.boundary(w); !ok || err != nil {
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
	if !p.started {
		if ok, err := e.again(w, p.stmt); !ok || err != nil {
			return false, err
		}
	}
	j := p.stmt.j
	if j.denied() {
		e.refuse(w, size, refusalOf(j.answer), failing(j.answer), nil)
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
	e.start(name)
	e.plan(w, name, &p)
	e.run(w, j)
	e.queue.push(owed{step: stepExecute, stmt: p.stmt, plan: p.plan})
	e.send(w, size)
	return true, nil
}

// portal finds a named portal. One that no Bind made may be an SQL cursor.
func (e *engine) portal(name []byte) portal {
	if p, ok := e.portals[string(name)]; ok {
		return p
	}
	s := &statement{j: &judged{text: "FETCH ALL FROM " + quoted(name)}, renamed: true}
	return portal{stmt: s, plan: e.newPlan(), batch: e.sent}
}

// start notes that a portal runs: going on with it later is the same run.
func (e *engine) start(name []byte) {
	if len(name) == 0 {
		e.unbound.started = true
		return
	}
	if p, ok := e.portals[string(name)]; ok && !p.started {
		p.started = true
		e.portals[string(name)] = p
	}
}

// describe asks for the shape of a statement or portal, close gives one up.
//
//	'S' or 'P' | name \0
func (e *engine) describe(w *walk, size int) (bool, error) {
	kind, name, ok, err := kindAndName(w, size)
	if !ok || err != nil {
		return false, err
	}
	if ok, err := e.boundary(w); !ok || err != nil {
		return false, err
	}
	o := owed{step: stepDescribeStatement}
	if kind == 'P' {
		o.step = stepDescribePortal
		o.plan, o.stmt = e.unbound.plan, e.unbound.stmt
		e.described = e.described || len(name) == 0
		if len(name) > 0 {
			p := e.portal(name)
			o.plan, o.stmt = p.plan, p.stmt
		}
	}
	e.queue.push(o)
	e.send(w, size)
	return true, nil
}

func (e *engine) close(w *walk, size int) (bool, error) {
	kind, name, ok, err := kindAndName(w, size)
	if !ok || err != nil {
		return false, err
	}
	switch {
	case kind == 'S' && len(name) == 0:
		e.unnamed = nil
	case kind == 'S':
		e.unname(string(name))
	case len(name) == 0:
		e.unbound = portal{}
	default:
		delete(e.portals, string(name))
	}
	e.queue.push(owed{step: stepClose})
	e.send(w, size)
	return true, nil
}

func kindAndName(w *walk, size int) (kind byte, name []byte, ok bool, err error) {
	if ok, err = whole(w, size); !ok || err != nil {
		return 0, nil, false, err
	}
	body := w.in[w.pos+wire.HeaderSize : w.pos+size]
	if len(body) < 2 || bytes.IndexByte(body, 0) != len(body)-1 || body[0] != 'S' && body[0] != 'P' {
		return 0, nil, false, violation{"a name that does not end where its message does"}
	}
	return body[0], body[1 : len(body)-1], true, nil
}

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
	if j.denied() || e.masking() {
		// What a function returns has no columns: with masks nobody can say what it shows.
		e.queue.push(owed{step: stepQuery, refusal: refusalOf(j.answer)})
		e.replace(w, size, nil, wire.AppendQuery(nil, failing(j.answer)))
		return true, nil
	}
	e.queue.push(owed{step: stepFunction})
	e.leaveOut(w)
	e.run(w, j)
	e.send(w, size)
	return true, nil
}
