package postgres

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// copying is a COPY TO STDOUT whose fields are looked at. Servers send one row a
// message (CopySendEndOfRow); one that does not is not believed.
type copying struct {
	form    copyForm
	columns []column // nil: only detectors look, at whole rows
	header  bool     // the next row names the columns
	begun   bool     // the binary signature was seen
}

type copyForm struct {
	format                   string
	delimiter, quote, escape byte
	null                     string
}

var binarySignature = []byte("PGCOPY\n\xff\r\n\x00")

// copyOf is the COPY TO STDOUT a text runs, if it runs one.
func copyOf(r *sqlread.Reading) *sqlread.Copy {
	if r == nil {
		return nil
	}
	for i := range r.Statements {
		if c := r.Statements[i].Copy; c != nil && !c.In {
			return c
		}
	}
	return nil
}

// copies says whether a text's copies can be masked, and how; why says why not.
func (e *engine) copyPlan(j *judged) (c *copying, why string) {
	to := copyOf(j.reading)
	if to == nil || !e.masking() {
		return nil, ""
	}
	c = &copying{form: formOf(to), header: to.Header}
	if !e.s.Masks.HasColumns() {
		return c, ""
	}
	switch {
	case e.dirty || e.view == nil:
		return nil, "the shape of what it copies is not known at this moment; try again outside of a transaction that changes definitions"
	case e.gist(j).clean:
		return c, ""
	case len(j.reading.Statements) != 1 || to.Query != "":
		return nil, "it copies from a relation with masked columns by a query; copy the table itself, or SELECT from it"
	case !sqlread.ASCIISafe(to.Encoding):
		return nil, "where its fields end is not certain in this encoding"
	case e.lexing.shifty || e.lexing.tuned:
		return nil, "where its fields end depends on client_encoding"
	}
	oid, ok := e.view.only(to.Relation)
	if !ok {
		return nil, "its name stands for several relations; name the schema"
	}
	if c.columns, ok = e.copyColumns(oid, to.Columns); !ok {
		return nil, "its columns are not known"
	}
	return c, ""
}

func formOf(to *sqlread.Copy) copyForm {
	f := copyForm{format: to.Format, delimiter: '\t', quote: '"', null: `\N`}
	if to.Format == "csv" {
		f.delimiter, f.null = ',', ""
	}
	if to.Delimiter != 0 {
		f.delimiter = to.Delimiter
	}
	if to.Quote != 0 {
		f.quote = to.Quote
	}
	f.escape = f.quote
	if to.Escape != 0 {
		f.escape = to.Escape
	}
	if to.NullSet {
		f.null = to.Null
	}
	return f
}

// only finds the one relation a name can stand for.
func (v *view) only(n sqlread.Name) (oid uint32, ok bool) {
	for at, r := range v.snap.relations {
		if r.name != n.Name || n.Schema != "" && r.schema != n.Schema {
			continue
		}
		if ok {
			return 0, false
		}
		oid, ok = at, true
	}
	return oid, ok
}

// copyColumns tells what becomes of the columns a COPY writes, in its order.
func (e *engine) copyColumns(oid uint32, named []string) ([]column, bool) {
	v := e.view
	if !v.snap.relations[oid].plain() {
		return nil, false // what a view is made of may be masked as well
	}
	var numbers []int16
	byName := map[string]int16{}
	for a, d := range v.snap.columns {
		if _, computed := v.snap.generated[a]; a.relation == oid && !computed { // COPY leaves these out
			numbers = append(numbers, a.number)
			byName[d.name] = a.number
		}
	}
	slices.Sort(numbers)
	if named != nil {
		numbers = numbers[:0]
		for _, n := range named {
			at, ok := byName[n]
			if !ok {
				return nil, false
			}
			numbers = append(numbers, at)
		}
	}
	columns := make([]column, 0, len(numbers))
	for _, n := range numbers {
		d := v.snap.columns[attribute{oid, n}]
		c := column{oid: d.oid, size: d.size}
		if with, ok := v.columns[attribute{oid, n}]; ok {
			c.action, c.with = masked, with
		} else if set, with := e.s.Masks.Detectors(); set != 0 && textual(d.oid) {
			c.action, c.with, c.set = detected, with, set
		}
		columns = append(columns, c)
	}
	return columns, len(columns) > 0
}

// maskCopy takes a message of copy data.
func (e *engine) maskCopy(w *walk, o *owed, size int) (bool, error) {
	c := o.plan.copying
	if c == nil {
		return false, violation{"copy data came whose columns are not known"}
	}
	if size > maxRow {
		e.last = fatal("54000", "chaperone cannot mask a row this large", "Copy fewer or smaller columns.")
		return false, violation{"a row is too large to be masked"}
	}
	if w.left() < size {
		return false, nil
	}
	message := w.in[w.pos : w.pos+size]
	out := append(e.scratch[:0], message[:wire.HeaderSize]...)
	out, n, ok := c.row(out, message[wire.HeaderSize:], e)
	e.scratch = out[:0]
	if !ok {
		return false, violation{"the server sent a bad row of copy data"}
	}
	if n == 0 {
		w.pos += size
		return true, nil
	}
	e.hidden += n
	e.replaceDown(w, size, wire.End(out, 0))
	return true, nil
}

// row appends a row as the client may see it and counts what was hidden.
func (c *copying) row(dst, row []byte, e *engine) ([]byte, int, bool) {
	switch {
	case c.form.format == "binary":
		return c.binaryRow(dst, row, e)
	case len(row) == 0 || row[len(row)-1] != '\n':
		return dst, 0, false
	case c.header, c.columns == nil:
		c.header = false
		set, with := e.s.Masks.Detectors()
		dst, n := set.Scrub(dst, row, with)
		return dst, n, true
	}
	count := 0
	row = row[:len(row)-1]
	for i := range c.columns {
		raw, rest, more := c.form.cut(row)
		if more != (i+1 < len(c.columns)) {
			return dst, 0, false
		}
		if i > 0 {
			dst = append(dst, c.form.delimiter)
		}
		n := 0
		dst, n = c.field(dst, &c.columns[i], raw)
		count += n
		row = rest
	}
	return append(dst, '\n'), count, true
}

// field appends one text or CSV field.
func (c *copying) field(dst []byte, col *column, raw []byte) ([]byte, int) {
	if col.action == passes || string(raw) == c.form.null {
		return append(dst, raw...), 0
	}
	value, n := col.value(make([]byte, 0, 64), c.form.unescape(raw), false)
	if n == 0 {
		return append(dst, raw...), 0
	}
	if value == nil {
		return append(dst, c.form.null...), n
	}
	return c.form.escaped(dst, value), n
}

// binaryRow masks a row of the binary format.
//
//	first: signature, 11 bytes | int32 flags | int32 length | extension
//	int16 n or -1 at the end | n x ( int32 length or -1 | value )
func (c *copying) binaryRow(dst, row []byte, e *engine) ([]byte, int, bool) {
	if !c.begun {
		head := len(binarySignature) + 8
		if len(row) < head || !bytes.HasPrefix(row, binarySignature) || binary.BigEndian.Uint32(row[head-4:]) != 0 {
			return dst, 0, false
		}
		dst, row, c.begun = append(dst, row[:head]...), row[head:], true
	}
	if len(row) == 0 || len(row) == 2 && row[0] == 0xff && row[1] == 0xff {
		return append(dst, row...), 0, true
	}
	if len(row) < 2 || c.columns != nil && int(binary.BigEndian.Uint16(row)) != len(c.columns) {
		return dst, 0, false
	}
	n := int(binary.BigEndian.Uint16(row))
	dst, row = append(dst, row[:2]...), row[2:]
	count := 0
	for i := range n {
		value, rest, null, ok := field(row)
		if !ok {
			return dst, 0, false
		}
		k := 0
		dst, k = c.binaryColumn(i, e).append(dst, value, null)
		count += k
		row = rest
	}
	return dst, count, len(row) == 0
}

// binaryColumn is column i in the binary format. Of a column that is not known, its type
// neither, only what reads as text is looked at.
func (c *copying) binaryColumn(i int, e *engine) *column {
	if c.columns != nil {
		col := c.columns[i]
		col.binary = true
		return &col
	}
	set, with := e.s.Masks.Detectors()
	if set == 0 {
		return &column{}
	}
	return &column{action: detected, oid: oidUnknown, set: set, with: with, binary: true}
}

// cut splits a row's first field off, as it is written; more says that another follows.
func (f *copyForm) cut(row []byte) (raw, rest []byte, more bool) {
	quoted := false
	for i := 0; i < len(row); i++ {
		b := row[i]
		switch {
		case f.format != "csv":
			if b == '\\' {
				i++
				continue
			}
		case quoted && b == f.escape && f.escape != f.quote:
			i++
			continue
		case b == f.quote:
			quoted = !quoted // a doubled quote closes and opens again
			continue
		}
		if b == f.delimiter && !quoted {
			return row[:i], row[i+1:], true
		}
	}
	return row, nil, false
}

// unescape gives a field's value.
func (f *copyForm) unescape(raw []byte) []byte {
	if f.format == "csv" {
		if len(raw) < 2 || raw[0] != f.quote {
			return raw
		}
		out := make([]byte, 0, len(raw))
		body := raw[1 : len(raw)-1]
		for i := 0; i < len(body); i++ {
			if body[i] == f.escape && i+1 < len(body) {
				i++
			}
			out = append(out, body[i])
		}
		return out
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] == '\\' && i+1 < len(raw) {
			i++
			if at := bytes.IndexByte([]byte("bfnrtv"), raw[i]); at >= 0 {
				out = append(out, "\b\f\n\r\t\v"[at])
				continue
			}
		}
		out = append(out, raw[i])
	}
	return out
}

// escaped appends a value as a field.
func (f *copyForm) escaped(dst, value []byte) []byte {
	if f.format == "csv" {
		dst = append(dst, f.quote)
		for _, b := range value {
			if b == f.quote || b == f.escape {
				dst = append(dst, f.escape)
			}
			dst = append(dst, b)
		}
		return append(dst, f.quote)
	}
	for _, b := range value {
		if at := bytes.IndexByte([]byte("\b\f\n\r\t\v"), b); at >= 0 {
			dst = append(dst, '\\', "bfnrtv"[at])
			continue
		}
		if b == '\\' || b == f.delimiter {
			dst = append(dst, '\\')
		}
		dst = append(dst, b)
	}
	return dst
}
