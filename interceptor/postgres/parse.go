package postgres

import (
	"bytes"
	"encoding/binary"

	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
)

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
	if had := e.statements[string(name)]; had != nil && !had.parsed && e.asked == nil && e.awaits(w, had.batch) {
		return false, nil
	}
	j, ok, err := e.judge(w, asking{text: text, partial: partial})
	if !ok || err != nil {
		return false, err
	}
	if j.held() && partial {
		if err := e.unaskable(j, tooLong); err != nil {
			return false, err
		}
	}
	e.begins(partial, 3)
	var taped []byte
	if text, same := j.redacted(); !same {
		taped = appendParse(name, text, types)
	}
	if len(e.statements) >= maxNames {
		return false, violation{"too many prepared statements"}
	}
	if j.denied() {
		e.refuse(w, size, j.refusal(), failing(j.answer), taped)
		return true, nil
	}
	s := &statement{j: j, known: true, fresh: true, batch: e.sent, sure: e.renames}
	if !j.stands(e.generation()) {
		s.declared = bytes.Clone(types)
	}
	e.lexing.stir(j)
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

// Bounds of what named statements and portals take, in bytes: of statements with what was read in them, and of the
// texts of portals. A statement beyond runs under its answer, and is refused when it would have to be judged again.
const (
	maxNames          = 1 << 16
	maxStatementBytes = 32 << 20
	maxNamedBytes     = 16 << 20
)

// size is what a name keeps, in bytes.
func (s *statement) size() int {
	n := len(s.j.text) + s.weight + len(s.declared) + 4*len(s.types)
	if s.before != nil {
		n += s.before.size()
	}
	return n
}

// unname forgets a statement name.
func (e *engine) unname(key string) {
	if s := e.statements[key]; s != nil {
		e.bytes -= s.size()
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
	if old := e.statements[key]; old != nil && old.parsed {
		s.before = old
	}
	e.unname(key)
	s.weight = s.j.reading.Size()
	if e.bytes += s.size(); e.bytes > maxStatementBytes {
		e.bytes -= s.size()
		short := *s.j
		short.text, short.reading, short.partial = "", nil, true
		s.j, s.weight, s.declared, s.before = &short, 0, nil, nil
	}
	e.statements[key] = s
	return key
}

// carriedOut notes that the server has prepared a statement: nothing had its name any more.
func (e *engine) carriedOut(o *owed) {
	s := o.stmt
	if s == nil {
		return
	}
	s.parsed = true
	if s.before != nil && e.statements[o.name] == s {
		e.bytes -= s.before.size()
	}
	s.before = nil
}

// forget takes back a name whose Parse the server did not carry out. What had it before
// has it still, if it was there at all.
func (e *engine) forget(o *owed) {
	if o.name == "" && e.unnamed == o.stmt {
		e.unnamed = nil
	}
	if o.name != "" && e.statements[o.name] == o.stmt {
		e.unname(o.name)
		if before := o.stmt.before; before != nil {
			e.statements[o.name] = before
			e.bytes += before.size()
			before.sure = -1 // code may have run meanwhile
		}
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
