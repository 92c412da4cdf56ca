package postgres

import (
	"slices"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// calls says whether a statement runs code that is not the system's, wherever it stands in it:
// a call, r.f, an operator, a value of a type, a policy of what is read.
func (v *view) calls(s *sqlread.Statement) bool {
	if v.snap.casts && len(s.Relations)+len(s.Types) > 0 {
		return true
	}
	for _, n := range s.Functions {
		if v.snap.functions[n.Name] || slices.Contains(tellTale, n.Name) {
			return true
		}
	}
	return holds(v.snap.operators, s.Operators) || holds(v.snap.ofRows, s.Fields) || holds(v.snap.types, s.Types) ||
		slices.ContainsFunc(s.Relations, func(n sqlread.Name) bool { return v.watched[n.Name] })
}

func holds(set map[string]bool, names []string) bool {
	return len(set) > 0 && slices.ContainsFunc(names, func(n string) bool { return set[n] })
}

// stirs says whether a statement writes to a relation where that runs code of users.
func (v *view) stirs(s *sqlread.Statement) bool {
	return slices.ContainsFunc(s.Effects, func(e flow.Effect) bool {
		return e.Action != flow.Read && e.Action != flow.CopyOut && e.Action != flow.Lock
	}) && slices.ContainsFunc(s.Relations, func(n sqlread.Name) bool { return v.stirred[n.Name] })
}

// lively says whether writing to a relation, or to what a view shows, runs code of users.
func (v *view) lively(oid uint32, depth int) bool {
	if _, lively := v.snap.lively[oid]; lively || len(v.snap.rules[oid]) > 0 {
		return true
	}
	r := v.snap.relations[oid]
	return r != nil && r.kind == 'v' && oid >= firstUser && depth < maxDepth &&
		slices.ContainsFunc(v.snap.uses[oid], func(used uint32) bool { return used != oid && v.lively(used, depth+1) })
}

// tellTale are functions of the system that show what the views made of them are hidden for.
var tellTale = []string{"pg_stat_get_activity", "pg_stat_get_backend_activity", "pg_prepared_statement", "pg_cursor",
	"pg_show_all_file_settings", "pg_hba_file_rules", "pg_mcv_list_items", "pg_stat_get_subscription"}
