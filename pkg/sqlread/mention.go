package sqlread

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// about says that an expression names a column that can be the target's.
func (w *walker) about(n *pg.Node, t *target) bool { return len(w.columnsOf(n, t)) > 0 }

// repeats says that an expression names a column of the target twice, as x = x and
// x - x = 0 do.
func (w *walker) repeats(n *pg.Node, t *target) bool {
	seen := map[string]bool{}
	for _, c := range w.columnsOf(n, t) {
		if seen[c] {
			return true
		}
		seen[c] = true
	}
	return t != nil && w.joinsItself(n, t)
}

// columnsOf lists the target's columns named in an expression, sub-queries left out.
func (w *walker) columnsOf(n *pg.Node, t *target) []string {
	var out []string
	for _, c := range refs(n, false) {
		table, column := split2(c)
		switch {
		case table == "" && w.vars[column]:
		case t == nil || table == "" || table == t.called:
			out = append(out, column)
		}
	}
	return out
}

// joinsItself says that an expression compares the target with another occurrence
// of the same table.
func (w *walker) joinsItself(n *pg.Node, t *target) bool {
	for _, c := range refs(n, false) {
		table, _ := split2(c)
		if o, ok := t.others[table]; ok && o.Name == t.table.Name {
			return true
		}
	}
	return false
}

// named says that an expression names the target by its alias, sub-queries included.
func (w *walker) named(n *pg.Node, t *target) bool {
	for _, c := range refs(n, true) {
		if table, _ := split2(c); table == t.called {
			return true
		}
	}
	return false
}

// whole says that an expression holds a sub-query over the whole target: id IN (SELECT
// id FROM same), id >= (SELECT min(id) FROM same).
func (w *walker) whole(n *pg.Node, t *target) bool {
	if t == nil {
		return false
	}
	found := false
	each(n, func(m any) bool {
		s, ok := m.(*pg.SelectStmt)
		if !ok || limited(s.GetLimitCount()) {
			return true
		}
		for _, f := range s.GetFromClause() {
			for _, rv := range relationsOf(f) {
				if rv.GetRelname() == t.table.Name && !w.bounding(s.GetWhereClause(), nil) {
					found = true
				}
			}
		}
		return true
	})
	return found
}

// refs are the column references of an expression, as table, NUL, column.
func refs(n *pg.Node, deep bool) []string {
	var out []string
	each(n, func(m any) bool {
		switch x := m.(type) {
		case *pg.SelectStmt:
			return deep
		case *pg.ColumnRef:
			f := names(x.GetFields())
			if len(f) == 1 {
				out = append(out, "\x00"+f[0])
			} else if len(f) > 1 {
				out = append(out, f[len(f)-2]+"\x00"+f[len(f)-1])
			}
		}
		return true
	})
	return out
}

func split2(ref string) (table, column string) {
	table, column, _ = strings.Cut(ref, "\x00")
	return table, column
}
