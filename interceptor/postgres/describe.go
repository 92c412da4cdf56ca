package postgres

import (
	"bytes"

	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
)

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
	if kind == 'S' {
		o.stmt, o.name = e.statement(name), string(name)
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
		e.dropPortal(string(name))
	}
	e.queue.push(owed{step: stepClose})
	e.send(w, size)
	return true, nil
}

// parameterTypes are the types of a statement's parameters, as far as they are known.
func (s *statement) parameterTypes() []uint32 {
	if s.types != nil {
		return s.types
	}
	return oids(s.declared)
}

// learn takes a ParameterDescription: people who are asked read values by their types.
//
//	int16 n | n x int32 type
func (e *engine) learn(w *walk, o *owed, size int) (bool, error) {
	s := o.stmt
	if s == nil || !s.known || s.types != nil || s.j.stands(e.generation()) || size > maxSmall {
		return true, nil
	}
	if w.left() < size {
		return false, nil
	}
	if e.bytes+size > maxStatementBytes {
		return true, nil
	}
	before := s.size()
	s.types = oids(w.in[w.pos+wire.HeaderSize : w.pos+size])
	if o.name != "" && e.statements[o.name] == s {
		e.bytes += s.size() - before
	}
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
