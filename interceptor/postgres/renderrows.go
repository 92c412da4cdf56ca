package postgres

import (
	"strings"

	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
)

// room says whether one more row of what was asked is kept; when it is full, it is
// given away where that is wanted, and counted where not.
func (r *Renderer) room(s *renderStep) bool {
	if len(s.out.Rows)+len(s.out.Lines) < renderRows {
		return true
	}
	if !r.Split {
		s.out.More++
		return false
	}
	piece := *s.out
	piece.Continued = true
	r.done = append(r.done, piece)
	s.out.Rows, s.out.Lines = nil, nil
	return true
}

// row adds a row to what was asked.
func (r *Renderer) row(s *renderStep, body []byte) {
	if s.out == nil {
		return
	}
	values, err := wire.DataRow(body)
	if err != nil {
		s.out.More++
		return
	}
	if !r.room(s) {
		return
	}
	p := s.portal
	if p == nil {
		p = &renderPortal{}
	}
	if s.out.Columns == nil {
		for _, c := range p.columns {
			s.out.Columns = append(s.out.Columns, string(c.Name))
		}
	}
	texts := make([]string, len(values))
	for i, v := range values {
		oid, binary := uint32(0), format(p.formats, i) == 1
		if i < len(p.columns) {
			oid, binary = p.columns[i].DataTypeOID, binary || p.columns[i].Format == 1
		}
		texts[i] = readable(v, oid, binary)
	}
	s.out.Rows = append(s.out.Rows, texts)
}

// copied adds a row of a COPY TO, which servers send one a message (CopySendEndOfRow);
// of a binary one the bytes are counted.
func (r *Renderer) copied(s *renderStep, body []byte, size int) {
	if s.out == nil {
		return
	}
	s.out.Copied += size - wire.HeaderSize
	if s.lines && r.room(s) {
		s.out.Lines = append(s.out.Lines, strings.ToValidUTF8(strings.TrimRight(string(body), "\r\n"), "\ufffd"))
	}
}
