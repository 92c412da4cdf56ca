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

// mayHold says that a statement may have a masked value in its hands.
func (e *engine) mayHold(s *sqlread.Statement) bool {
	if e.view == nil || e.dirty {
		return len(s.Relations) > 0 || len(s.Functions) > 1
	}
	tainted := func(n sqlread.Name) bool { return e.view.names[n.Name] }
	return e.view.calls(s) || slices.ContainsFunc(s.Reads, tainted) ||
		slices.ContainsFunc(s.Relations, tainted) && !onlyInserts(s)
}

// onlyInserts says that the one relation a statement writes to gets new rows, and that is all.
func onlyInserts(s *sqlread.Statement) bool {
	return len(s.Writes) == 1 && !s.Opaque && !slices.ContainsFunc(s.Effects, func(e flow.Effect) bool {
		return (e.Action != flow.Insert && e.Action != flow.Read && e.Action != flow.Execute) && e.Via != "function"
	})
}

// sinking names the function that may carry a masked value to where nothing masks it, if one
// may: whatever does more than give a value. Functions of users are told by what they do.
func (e *engine) sinking(r *sqlread.Reading) string {
	for i := range r.Statements {
		s := &r.Statements[i]
		if !e.mayHold(s) {
			continue // there is nothing to carry off
		}
		for _, f := range s.Functions {
			if e.sink(f) {
				return "it may carry masked values to where they cannot be hidden (" + f.Name + ")"
			}
		}
	}
	return ""
}

func (e *engine) sink(f sqlread.Name) bool {
	gives, does := sqlread.Knows(f.Name)
	if gives || does || f.Schema == "information_schema" {
		return does
	}
	return e.view != nil && !e.dirty && !e.view.snap.functions[f.Name] // a builtin that is not known here
}
