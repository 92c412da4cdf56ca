package postgres

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
)

// RenderedValue is a value as text. NULL is another one than the text 'NULL'.
type RenderedValue struct {
	Text string
	Null bool
}

func (v RenderedValue) String() string { return v.Text }

// MarshalJSON writes a string, or null.
func (v RenderedValue) MarshalJSON() ([]byte, error) {
	if v.Null {
		return []byte("null"), nil
	}
	return json.Marshal(v.Text)
}

func rendering(v []byte, oid uint32, binary bool) RenderedValue {
	return RenderedValue{Text: readable(v, oid, binary), Null: v == nil}
}

// room says whether one more row of what was asked is kept; when it is full, it is
// given away where that is wanted, and counted, beyond those that are, where not.
func (r *Renderer) room(s *renderStep, beyond *int) bool {
	if len(s.out.Rows)+len(s.out.Lines)+len(s.out.Sent) < renderRows {
		return true
	}
	if !r.Split {
		*beyond++
		return false
	}
	piece := *s.out
	piece.Continued = true
	r.done = append(r.done, piece)
	s.out.Rows, s.out.Lines, s.out.Sent = nil, nil, nil
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
	if !r.room(s, &s.out.More) {
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
	texts := make([]RenderedValue, len(values))
	for i, v := range values {
		oid, binary := uint32(0), format(p.formats, i) == 1
		if i < len(p.columns) {
			oid, binary = p.columns[i].DataTypeOID, binary || p.columns[i].Format == 1
		}
		texts[i] = rendering(v, oid, binary)
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
	if s.lines && r.room(s, &s.out.More) {
		s.out.Lines = append(s.out.Lines, strings.ToValidUTF8(strings.TrimRight(string(body), "\r\n"), "\ufffd"))
	}
}

// taking is the COPY FROM that what the client sends now belongs to, nil when none is under way.
func (r *Renderer) taking() *renderStep {
	for i := range r.pending {
		if s := &r.pending[i]; s.takes && s.out != nil {
			return s
		}
	}
	for i := len(r.pending) - 1; i >= 0; i-- { // sent before the server asked: it follows its statement
		if s := &r.pending[i]; s.out != nil {
			return s
		}
	}
	return nil
}

// sent adds a piece of a COPY FROM; of a binary one the bytes are counted. Of a
// message that was cut short the line it was cut in ends there.
func (r *Renderer) sent(body []byte, size int) {
	s := r.taking()
	if s == nil {
		return
	}
	s.out.Copied += size - wire.HeaderSize
	if !s.lines {
		return
	}
	for {
		line, rest, whole := bytes.Cut(body, []byte("\n"))
		s.line = append(s.line, line[:min(len(line), renderMessage-len(s.line))]...)
		if !whole {
			break
		}
		r.sentLine(s)
		body = rest
	}
	if size > renderMessage {
		r.sentLine(s)
	}
}

// sentAll ends the rows of a COPY FROM: the last line need not have an end of its own.
func (r *Renderer) sentAll() {
	if s := r.taking(); s != nil && len(s.line) > 0 {
		r.sentLine(s)
	}
}

func (r *Renderer) sentLine(s *renderStep) {
	text := strings.ToValidUTF8(strings.TrimRight(string(s.line), "\r"), "\ufffd")
	s.line = s.line[:0]
	if r.room(s, &s.out.SentMore) {
		s.out.Sent = append(s.out.Sent, text)
	}
}
