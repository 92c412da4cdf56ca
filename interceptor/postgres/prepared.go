package postgres

import (
	"bytes"
	"maps"

	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// prepared is what SQL's PREPARE gave names, as far as that is certain. A name that was
// given twice, by whichever way, stands for nothing that is known: the second PREPARE may
// have failed, or the first been deallocated.
type prepared map[string]*sqlread.Statement

// Bounds of what is remembered: statements, and bytes of what was read in one.
const (
	maxPrepared     = 1000
	maxPreparedSize = 64 << 10
)

// find gives the statement behind a name; nil when it is not certain.
func (p prepared) find(name string) *sqlread.Statement {
	if odd(name) {
		return nil
	}
	return p[name]
}

// named gives what finds the statement behind a name that a text may EXECUTE, whichever way it was
// prepared. It is used while the server goes on, so it looks at a copy.
func (e *engine) named(text []byte) func(string) *sqlread.Statement {
	if len(e.statements) == 0 || !bytes.Contains(bytes.ToLower(text), []byte("execute")) {
		return e.prepared.find
	}
	all := prepared{}
	for name, s := range e.statements {
		if _, taken := e.prepared[name]; !taken && s.certain(e.renames) {
			all[name] = &s.j.reading.Statements[0]
		}
	}
	maps.Copy(all, e.prepared)
	return all.find
}

// certain says that it is known what runs under the statement's name.
func (s *statement) certain(renames int) bool {
	r := s.j.reading
	return s.parsed && s.sure == renames && !s.replaced && !s.j.named && !s.j.partial && !s.j.doubted && r != nil && r.Unread == "" && len(r.Statements) == 1
}

// doubt makes all names uncertain.
func (p prepared) doubt() {
	for name := range p {
		p[name] = nil
	}
}

// note remembers what a text that is about to run prepares.
func (p *prepared) note(r *sqlread.Reading, others map[string]*statement) {
	for i := range r.Statements {
		s := &r.Statements[i]
		if s.Prepares == "" {
			continue
		}
		if *p == nil {
			*p = prepared{}
		}
		_, twice := (*p)[s.Prepares]
		other, taken := others[s.Prepares]
		if taken {
			other.replaced = true
		}
		switch {
		case twice || taken:
			(*p)[s.Prepares] = nil
		case len(*p) < maxPrepared:
			one := *s // without those that stood beside it
			(*p)[s.Prepares] = &one
			if s.Size() > maxPreparedSize {
				(*p)[s.Prepares] = nil
			}
		}
	}
}

// spoil makes a name uncertain that a Parse uses as well.
func (p prepared) spoil(name string) {
	if _, there := p[name]; there {
		p[name] = nil
	}
}
