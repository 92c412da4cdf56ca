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
	if n := w.pos - w.run; n > 0 && n <= smallRun {
		w.out.Put(w.in[w.run:w.pos]) // with what is put before and behind it one part, not three
		e.taped(w.in[w.run:w.pos])
		w.run = w.pos
	}
	w.pass()
	w.out.Put(with)
	e.taped(with)
	w.pos += size
	w.run = w.pos
}

// smallRun is up to where copying unchanged bytes costs less than a part of their own.
const smallRun = 1 << 10

// taped notes what went down instead of what stands in the buffer.
func (e *engine) taped(b []byte) {
	if e.omitted[interceptor.Down] {
		e.reels[interceptor.Down].omit(len(b))
		return
	}
	e.reels[interceptor.Down].put(b)
}

// maskValues gives the masked row; nil when row itself is it: nothing in it had to change, or
// what had to was written over in place. What it gives is valid until the next call.
func (e *engine) maskValues(p *plan, row []byte) (out []byte, ok bool) {
	at := wire.HeaderSize + 2
	if len(row) < at || int(binary.BigEndian.Uint16(row[wire.HeaderSize:])) != len(p.columns) {
		return nil, false
	}
	done, count := 0, 0 // row[:done] stands in out
	for i := range p.columns {
		c := &p.columns[i]
		end, null := fieldEnd(row, at)
		if end < 0 {
			return nil, false
		}
		if c.action != passes {
			cell, n := c.append(e.cell[:0], row[at+4:end], null)
			e.cell = cell[:0]
			count += n
			switch {
			case n == 0:
			case len(cell) == end-at:
				copy(row[at:], cell)
			default:
				if out == nil {
					out = e.scratch[:0]
				}
				out = append(append(out, row[done:at]...), cell...)
				done = end
			}
		}
		at = end
	}
	e.hidden += count
	if at != len(row) {
		return nil, false
	}
	if out == nil {
		return nil, true
	}
	out = append(out, row[done:]...)
	e.scratch = out[:0]
	return wire.End(out, 0), true
}

// fieldEnd is where the field that begins at offset at ends; below 0 when it does not.
func fieldEnd(row []byte, at int) (end int, null bool) {
	if len(row)-at < 4 {
		return -1, false
	}
	n := int(int32(binary.BigEndian.Uint32(row[at:])))
	if n == -1 {
		return at + 4, true
	}
	if n < 0 || n > len(row)-at-4 {
		return -1, false
	}
	return at + 4 + n, false
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
