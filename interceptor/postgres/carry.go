package postgres

import (
	"slices"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// carriesOff says that a statement may write what it reads from a relation with masked columns
// to where no mask names it. An UPDATE may read the one table it writes to.
func (e *engine) carriesOff(s sqlread.Statement) bool {
	if e.view.ruled(s.Writes) {
		return true
	}
	puts, makes := whatItPuts(&s)
	if !puts && !makes {
		return false
	}
	if s.Executes != "" && slices.ContainsFunc(s.Effects, func(e flow.Effect) bool { return e.Action == flow.Unknown }) {
		return true // it stores what a name gives that is not known
	}
	sources := s.Reads
	if len(s.Writes) > 1 {
		sources = slices.Concat(s.Reads, s.Writes) // one may take what another returns
	}
	sources = slices.DeleteFunc(slices.Clone(sources), func(n sqlread.Name) bool { return !e.view.names[n.Name] })
	return len(sources) > 0 && (makes || e.dirty || !e.view.oneTable(slices.Concat(sources, s.Writes)))
}

// whatItPuts says whether a statement gives rows that are there new values, and whether it
// makes new rows.
func whatItPuts(s *sqlread.Statement) (puts, makes bool) {
	for _, e := range s.Effects {
		switch e.Action {
		case flow.Insert, flow.Merge, flow.Create:
			makes = true
		case flow.Update:
			puts = len(s.Writes) > 0 // setval has none
		}
	}
	return puts, makes
}

// oneTable says that all names are certain to stand for the same table.
func (v *view) oneTable(names []sqlread.Name) bool {
	first, ok := v.only(names[0])
	return ok && v.snap.relations[first].plain() && !slices.ContainsFunc(names, func(n sqlread.Name) bool {
		oid, ok := v.only(n)
		return !ok || oid != first
	})
}

// ruled says that a rule, which runs in place of or beside what writes to a relation, may read
// masked values.
func (v *view) ruled(names []sqlread.Name) bool {
	if len(names) == 0 {
		return false
	}
	for oid, used := range v.snap.rules {
		if r := v.snap.relations[oid]; r != nil && mayBe(names, r) &&
			slices.ContainsFunc(used, func(u uint32) bool { return u != oid && v.taints(u, 0) }) {
			return true
		}
	}
	return false
}

// mayBe says that a relation may be one of those named. Where search_path leads is not known.
func mayBe(names []sqlread.Name, r *relation) bool {
	return slices.ContainsFunc(names, func(n sqlread.Name) bool { return n.Name == r.name })
}
