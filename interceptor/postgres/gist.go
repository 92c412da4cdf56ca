package postgres

import (
	"bytes"
	"slices"

	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// gist is what a view says of a text. Both stay as they are, so it is found once
// however often the text runs.
type gist struct {
	view    uint64 // its number: what is not used keeps no old view
	reading *sqlread.Reading
	clean   bool // see view.clean
	unseen  bool // see view.hidesCode
}

// shape is what was made of the last description of a text's result.
type shape struct {
	view      uint64
	described []byte // the RowDescription's body
	columns   []column
	busy      bool
}

// Bounds of what is remembered: of one RowDescription in bytes, and of texts.
const (
	maxDescribed = 1 << 10
	maxShapes    = 128
)

// sure says that what is decided now of a clean statement's result is decided again for as long as the
// view is the session's.
func (e *engine) sure(s *statement) bool {
	return s != nil && e.view != nil && e.view.masks == e.s.Masks && !e.dirty && !e.unknown && !e.laundered
}

// remembers fills in the plan of a result that is described as the last one of its text was.
func (e *engine) remembers(s *statement, body []byte, p *plan) bool {
	if !e.sure(s) {
		return false
	}
	was, ok := e.shapes[s.j]
	if !ok || was.view != e.view.number || !bytes.Equal(was.described, body) {
		return false
	}
	p.columns, p.busy = was.columns, was.busy
	return true
}

// remember keeps what was made of a description.
func (e *engine) remember(s *statement, body []byte, p *plan) {
	if len(body) > maxDescribed || !e.sure(s) {
		return
	}
	if e.shapes == nil || len(e.shapes) >= maxShapes {
		e.shapes = map[*judged]shape{}
	}
	e.shapes[s.j] = shape{e.view.number, bytes.Clone(body), slices.Clip(p.columns), p.busy}
}

// gist gives what the session's view says of a text. Without a view nothing is known.
func (e *engine) gist(j *judged) *gist {
	g := &j.gist
	switch {
	case e.view == nil:
		*g = gist{unseen: j.reading != nil}
	case g.view != e.view.number || g.reading != j.reading:
		*g = gist{e.view.number, j.reading, e.view.clean(j.reading), e.view.hidesCode(j.reading)}
	}
	return g
}

// hidesCode says that what is read and masked may run code that its text does not show: triggers,
// rules, and what views are made of.
func (v *view) hidesCode(r *sqlread.Reading) bool {
	switch {
	case r == nil || len(v.snap.functions) == 0:
		return false
	case r.Changes:
		return true
	}
	return slices.ContainsFunc(r.Statements, func(s sqlread.Statement) bool {
		return v.calls(&s) || slices.ContainsFunc(s.Relations, func(n sqlread.Name) bool { return v.views[n.Name] })
	})
}
