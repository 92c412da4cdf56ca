package postgres

import (
	"bytes"
	"strings"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/jackc/pgproto3/v2"
)

// Rendered is one request of a recorded session, as people read it.
type Rendered struct {
	Time       time.Time         `json:"time"`
	Duration   time.Duration     `json:"duration"`
	Statement  string            `json:"statement"`
	Parameters []RenderedValue   `json:"parameters,omitempty"`
	Sent       []string          `json:"sent,omitempty"`      // lines of a COPY FROM in text or csv
	SentMore   int               `json:"sent_more,omitempty"` // lines that went up and are not in Sent
	Columns    []string          `json:"columns,omitempty"`
	Rows       [][]RenderedValue `json:"rows,omitempty"`
	Lines      []string          `json:"lines,omitempty"`     // of a COPY TO in text or csv
	More       int               `json:"more,omitempty"`      // rows that came and are in neither
	Continued  bool              `json:"continued,omitempty"` // its rows go on in the next
	Copied     int               `json:"copied,omitempty"`    // bytes, either way
	Tag        string            `json:"tag,omitempty"`       // command tags, joined by "; "
	Error      *RenderedError    `json:"error,omitempty"`
	Notices    []string          `json:"notices,omitempty"`
	Omitted    int               `json:"omitted,omitempty"` // bytes the record level left out
}

// RenderedError is what the client was told.
type RenderedError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  string `json:"detail,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// Bounds of what is rendered of one request; the rest is counted.
const (
	renderRows    = 10000
	renderMessage = 1 << 20 // bytes of one message
)

// Renderer turns a tape's entries back into requests. It reads incrementally, and
// goes on where parts are missing.
type Renderer struct {
	// Split gives a long result in pieces, each Continued by the next; else what
	// is beyond the first piece is counted.
	Split bool

	done       []Rendered
	split      [2]splitter
	pending    []renderStep
	statements map[string]*renderStatement
	portals    map[string]*renderPortal
	notices    []string
	omitted    int
}

type renderStep struct {
	step   step
	out    *Rendered
	stmt   *renderStatement
	portal *renderPortal
	lines  bool   // what is copied is text
	takes  bool   // the server has asked for the rows of a COPY FROM
	line   []byte // the beginning of one of them: clients cut the stream where they like
}

type renderStatement struct {
	text    string
	types   []uint32
	columns []pgproto3.FieldDescription
}

type renderPortal struct {
	stmt       *renderStatement
	parameters []RenderedValue
	formats    []int16
	columns    []pgproto3.FieldDescription
}

// NewRenderer makes one for a session that is read from its start.
func NewRenderer() *Renderer {
	return &Renderer{statements: map[string]*renderStatement{}, portals: map[string]*renderPortal{}}
}

// Feed takes one tape entry and gives the requests that are complete with it.
func (r *Renderer) Feed(kind interceptor.TapeKind, body []byte, at time.Time) []Rendered {
	switch kind {
	case interceptor.TapeUp:
		r.split[0].feed(body, func(typ byte, m []byte, size int) { r.up(typ, m, size, at) })
	case interceptor.TapeDown:
		r.split[1].feed(body, func(typ byte, m []byte, size int) { r.down(typ, m, size, at) })
	case interceptor.TapeOmitted:
		r.omitted++
	}
	return r.take()
}

// Flush gives what has not been answered by the end of the tape.
func (r *Renderer) Flush() []Rendered {
	for _, s := range r.pending {
		if s.out != nil {
			r.done = append(r.done, *s.out)
		}
	}
	r.pending = nil
	return r.take()
}

func (r *Renderer) take() []Rendered {
	done := r.done
	r.done = nil
	return done
}

// up notes what the client asked.
func (r *Renderer) up(typ byte, body []byte, size int, at time.Time) {
	switch typ {
	case 'd':
		r.sent(body, size)
	case 'c', 'f':
		r.sentAll()
	case 'Q':
		text, _, _ := wire.CString(append(body, 0))
		r.push(renderStep{step: stepQuery, out: &Rendered{Time: at, Statement: string(text)}})
		delete(r.portals, "")
	case 'P':
		name, rest, _ := wire.CString(body)
		text, rest, _ := wire.CString(append(rest, 0))
		s := &renderStatement{text: string(text), types: oids(rest)}
		r.statements[string(name)] = s
		r.push(renderStep{step: stepParse, stmt: s})
	case 'B':
		r.push(renderStep{step: stepBind, portal: r.bound(body)})
	case 'D':
		r.described(body)
	case 'E':
		name, _, _ := wire.CString(body)
		p := r.portal(string(name))
		r.push(renderStep{step: stepExecute, portal: p,
			out: &Rendered{Time: at, Statement: p.stmt.text, Parameters: p.parameters}})
	case 'C':
		r.push(renderStep{step: stepClose})
	case 'S':
		r.push(renderStep{step: stepSync})
	case 'F':
		r.push(renderStep{step: stepFunction, out: &Rendered{Time: at, Statement: "(function call)"}})
	}
}

func (r *Renderer) push(s renderStep) { r.pending = append(r.pending, s) }

func (r *Renderer) portal(name string) *renderPortal {
	if p := r.portals[name]; p != nil {
		return p
	}
	return &renderPortal{stmt: &renderStatement{text: "(portal " + name + ")"}}
}

// bound reads a Bind.
func (r *Renderer) bound(body []byte) *renderPortal {
	b, err := wire.Bind(body)
	if err != nil {
		name, rest, _ := wire.CString(body)
		from, _, _ := wire.CString(rest)
		p := &renderPortal{stmt: r.statement(string(from)), parameters: []RenderedValue{{Text: "(not readable)"}}}
		r.portals[string(name)] = p
		return p
	}
	p := &renderPortal{stmt: r.statement(b.PreparedStatement), formats: b.ResultFormatCodes}
	p.columns = p.stmt.columns
	for i, v := range b.Parameters {
		oid := uint32(0)
		if i < len(p.stmt.types) {
			oid = p.stmt.types[i]
		}
		p.parameters = append(p.parameters, rendering(v, oid, format(b.ParameterFormatCodes, i) == 1))
	}
	r.portals[b.DestinationPortal] = p
	return p
}

func (r *Renderer) statement(name string) *renderStatement {
	if s := r.statements[name]; s != nil {
		return s
	}
	return &renderStatement{text: "(statement " + name + ")"}
}

func format(codes []int16, i int) int16 {
	switch {
	case len(codes) == 1:
		return codes[0]
	case i < len(codes):
		return codes[i]
	}
	return 0
}

func (r *Renderer) described(body []byte) {
	if len(body) < 1 {
		return
	}
	name, _, _ := wire.CString(body[1:])
	if body[0] == 'S' {
		r.push(renderStep{step: stepDescribeStatement, stmt: r.statement(string(name))})
		return
	}
	r.push(renderStep{step: stepDescribePortal, portal: r.portal(string(name))})
}

// down matches what the server said to what was asked.
func (r *Renderer) down(typ byte, body []byte, size int, at time.Time) {
	if typ == 'N' {
		if f, err := wire.ErrorFields(body); err == nil {
			r.notices = append(r.notices, f.Severity+": "+f.Message)
		}
		return
	}
	if len(r.pending) == 0 {
		return
	}
	s := &r.pending[0]
	switch typ {
	case 't':
		if s.stmt != nil {
			s.stmt.types = oids(body)
		}
	case 'T':
		r.shaped(s, body)
	case 'H', 'G':
		s.lines, s.takes = len(body) > 0 && body[0] == 0, typ == 'G'
	case 'D':
		r.row(s, body)
	case 'd':
		r.copied(s, body, size)
	case 'C':
		tag, _, _ := wire.CString(body)
		s.tagged(string(tag))
	case 'I':
		s.tagged("")
	case 's':
		s.tagged("(suspended)")
	case 'E':
		r.failed(s, body, at)
		return
	}
	if typ == 'Z' || strings.IndexByte(s.step.expects(), typ) >= 0 && ends(s.step, typ) {
		r.finish(at)
	}
}

func (r *Renderer) shaped(s *renderStep, body []byte) {
	var d pgproto3.RowDescription
	if wire.RowDescription(&d, bytes.Clone(body)) != nil {
		return
	}
	switch {
	case s.step == stepDescribeStatement:
		s.stmt.columns = d.Fields
	case s.portal != nil:
		s.portal.columns, s.portal.formats = d.Fields, nil
	case s.out != nil:
		s.portal = &renderPortal{columns: d.Fields}
	}
}

func (s *renderStep) tagged(tag string) {
	if s.out == nil || tag == "" {
		return
	}
	if s.out.Tag != "" {
		tag = s.out.Tag + "; " + tag
	}
	s.out.Tag = tag
}

// failed ends what was asked, and what the server skips after it.
func (r *Renderer) failed(s *renderStep, body []byte, at time.Time) {
	out := s.out
	switch {
	case out != nil:
	case s.portal != nil && s.portal.stmt != nil:
		out = &Rendered{Time: at, Statement: s.portal.stmt.text, Parameters: s.portal.parameters}
	case s.stmt != nil:
		out = &Rendered{Time: at, Statement: s.stmt.text}
	default:
		out = &Rendered{Time: at, Statement: "(end of transaction)"}
	}
	if f, err := wire.ErrorFields(body); err == nil {
		out.Error = &RenderedError{Code: f.Code, Message: f.Message, Detail: f.Detail, Hint: f.Hint}
	}
	s.out = out
	if s.step == stepQuery || s.step == stepFunction || s.step == stepSync {
		return // ReadyForQuery follows
	}
	r.finish(at)
	for len(r.pending) > 0 && r.pending[0].step != stepSync {
		r.pending = r.pending[1:]
	}
}

// finish takes the first step off.
func (r *Renderer) finish(at time.Time) {
	s := r.pending[0]
	r.pending = r.pending[1:]
	if s.out == nil {
		return
	}
	s.out.Duration = at.Sub(s.out.Time)
	s.out.Notices, r.notices = r.notices, nil
	s.out.Omitted, r.omitted = r.omitted, 0
	r.done = append(r.done, *s.out)
}

// splitter cuts a stream into messages. Of one that is too long only the beginning is kept.
type splitter struct {
	held []byte
	skip int
}

func (s *splitter) feed(b []byte, each func(typ byte, body []byte, size int)) {
	n := min(s.skip, len(b))
	s.skip -= n
	s.held = append(s.held, b[n:]...)
	rest := s.held
	for len(rest) >= wire.HeaderSize {
		size, err := wire.Size(rest)
		if err != nil {
			rest = nil // lost: the stream is not one of messages
			break
		}
		have := min(size, renderMessage)
		if len(rest) < have {
			break
		}
		each(rest[0], bytes.Clone(rest[wire.HeaderSize:have]), size)
		drop := min(size, len(rest))
		s.skip = size - drop
		rest = rest[drop:]
	}
	s.held = append(s.held[:0], rest...)
}
