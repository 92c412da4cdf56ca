package postgres

import (
	"bytes"
	"slices"

	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// gist is what a view says of a text. Both stay as they are, so it is found once
// however often the text runs.
type gist struct {
	view    *view
	reading *sqlread.Reading
	clean   bool // see view.clean
	unseen  bool // see view.hidesCode

	described []byte // the last RowDescription of its result, and what was made of it
	columns   []column
	busy      bool
}

// maxDescribed is the longest RowDescription that is remembered, in bytes.
const maxDescribed = 1 << 10

// sure says that what is decided now of a clean statement's result is decided again for as long as the
// view is the session's.
func (e *engine) sure(s *statement) bool {
	return s != nil && e.view != nil && e.view.masks == e.s.Masks && !e.dirty && !e.unknown
}

// remembers fills in the plan of a result that is described as the last one of its text was.
func (e *engine) remembers(s *statement, body []byte, p *plan) bool {
	if !e.sure(s) {
		return false
	}
	g := e.gist(s.j)
	if g.described == nil || !bytes.Equal(g.described, body) {
		return false
	}
	p.columns, p.busy = g.columns, g.busy
	return true
}

// remember keeps what was made of a description.
func (e *engine) remember(s *statement, body []byte, p *plan) {
	if len(body) <= maxDescribed && e.sure(s) {
		g := e.gist(s.j)
		g.described, g.columns, g.busy = append(g.described[:0], body...), slices.Clip(p.columns), p.busy
	}
}

// gist gives what the session's view says of a text. Without a view nothing is known.
func (e *engine) gist(j *judged) *gist {
	if g := &j.gist; g.view != e.view || g.reading != j.reading || e.view == nil {
		*g = gist{view: e.view, reading: j.reading, unseen: j.reading != nil}
		if e.view != nil {
			g.clean, g.unseen = e.view.clean(j.reading), e.view.hidesCode(j.reading)
		}
	}
	return &j.gist
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
