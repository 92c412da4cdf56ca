package postgres

import (
	"encoding/binary"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
)

// maxRow is the largest row that can be masked, in bytes: masking needs the whole row.
const maxRow = interceptor.MaxBuffer - 64<<10

// maskRow takes a row of a result that may have to be masked.
//
//	'D' | int32 length | int16 n | n x ( int32 length or -1 | value )
func (e *engine) maskRow(w *walk, o *owed, size int) (bool, error) {
	p := o.plan
	if !p.shaped || !p.rows {
		return false, violation{"rows came whose columns are not known"}
	}
	if !p.busy {
		e.rest[interceptor.Down] = size
		return true, nil
	}
	if size > maxRow {
		e.last = fatal("54000", "chaperone cannot mask a row this large", "Ask for fewer or smaller columns.")
		return false, violation{"a row is too large to be masked"}
	}
	if w.left() < size {
		return false, nil
	}
	row := w.in[w.pos : w.pos+size]
	out, ok := e.maskValues(p, row)
	if !ok {
		return false, violation{"the server sent a bad row"}
	}
	if out == nil {
		w.pos += size
		return true, nil
	}
	e.replaceDown(w, size, out)
	return true, nil
}

// replaceDown puts a message in the place of the one that stands here.
func (e *engine) replaceDown(w *walk, size int, with []byte) {
	w.pass()
	w.out.Put(with)
	if e.omitted[interceptor.Down] {
		e.reels[interceptor.Down].omit(len(with))
	} else {
		e.reels[interceptor.Down].put(with)
	}
	w.pos += size
	w.run = w.pos
}

// maskValues gives the masked row, nil when nothing in it had to change. What
// it gives is valid until the next call.
func (e *engine) maskValues(p *plan, row []byte) (out []byte, ok bool) {
	body := row[wire.HeaderSize:]
	if len(body) < 2 || int(binary.BigEndian.Uint16(body)) != len(p.columns) {
		return nil, false
	}
	out = append(e.scratch[:0], row[:wire.HeaderSize+2]...)
	body = body[2:]
	count := 0
	for i := range p.columns {
		value, rest, null, ok := field(body)
		if !ok {
			return nil, false
		}
		n := 0
		out, n = p.columns[i].append(out, value, null)
		count += n
		body = rest
	}
	e.scratch = out[:0]
	if len(body) != 0 {
		return nil, false
	}
	if count == 0 {
		return nil, true
	}
	e.s.Meter.Masked(e.s.Flow.Identity, e.s.Flow.Target, count)
	return wire.End(out, 0), true
}

// field splits a row's first value off.
func field(b []byte) (value, rest []byte, null, ok bool) {
	if len(b) < 4 {
		return nil, nil, false, false
	}
	n := int32(binary.BigEndian.Uint32(b))
	b = b[4:]
	if n == -1 {
		return nil, b, true, true
	}
	if n < 0 || int(n) > len(b) {
		return nil, nil, false, false
	}
	return b[:n], b[n:], false, true
}

// append appends the column's value, with its length, as the client may see it, and
// counts what was hidden.
func (c *column) append(dst, value []byte, null bool) ([]byte, int) {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	body, n := c.value(dst, value, null)
	if body == nil {
		binary.BigEndian.PutUint32(dst[at:], 1<<32-1) // NULL
		return dst, n
	}
	binary.BigEndian.PutUint32(body[at:], uint32(len(body)-at-4))
	return body, n
}

// value appends the value; nil for NULL.
func (c *column) value(dst, value []byte, null bool) ([]byte, int) {
	switch c.action {
	case masked:
		if null {
			return nil, 0
		}
		if c.with.IsNull() {
			return nil, 1
		}
		return c.typed(dst, value, c.with), 1
	case hidden:
		return c.typed(dst, nil, c.with.Derived()), 1
	case detected:
		if !null {
			return c.detect(dst, value)
		}
	}
	if null {
		return nil, 0
	}
	return append(dst, value...), 0
}
