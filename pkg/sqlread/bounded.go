package sqlread

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// target is the relation a statement writes and those it is joined with.
type target struct {
	table  Name
	called string // its alias, or its name
	others map[string]Name
}

// aimed describes an UPDATE, DELETE or MERGE. A sub-query or CTE over the whole target
// counts as the target itself: joining with it leaves nothing out.
func (w *walker) aimed(n withs, rv *pg.RangeVar, from []*pg.Node) *target {
	t := &target{table: Name{rv.GetSchemaname(), rv.GetRelname()}, called: alias(rv), others: map[string]Name{}}
	mirrors := map[string]bool{}
	for _, c := range n.GetWithClause().GetCtes() {
		cte := c.GetCommonTableExpr()
		mirrors[cte.GetCtename()] = w.whole(cte.GetCtequery(), t)
	}
	for _, f := range from {
		for _, o := range relationsOf(f) {
			t.others[alias(o)] = Name{o.GetSchemaname(), o.GetRelname()}
			if mirrors[o.GetRelname()] {
				t.others[alias(o)] = t.table
			}
		}
		each(f, func(m any) bool {
			if sub, ok := m.(*pg.RangeSubselect); ok && w.whole(sub.GetSubquery(), t) {
				t.others[sub.GetAlias().GetAliasname()] = t.table
			}
			return true
		})
	}
	return t
}

func alias(rv *pg.RangeVar) string {
	if a := rv.GetAlias().GetAliasname(); a != "" {
		return a
	}
	return rv.GetRelname()
}

// bounding says that a condition can leave out rows of the target, as far as the
// text shows it: what is true for every row, or says nothing of the target, does not
// bound. t is nil for a SELECT, where any column will do.
func (w *walker) bounding(n *pg.Node, t *target) bool {
	switch m := inner(n).(type) {
	case *pg.BoolExpr:
		return w.boundingBool(m, t)
	case *pg.A_Expr:
		return w.boundingComparison(m, t)
	case *pg.NullTest:
		return m.GetNulltesttype() == pg.NullTestType_IS_NULL && m.GetArg().GetColumnRef() != nil && w.about(m.GetArg(), t)
	case *pg.BooleanTest:
		return w.boundingTest(m, t)
	case *pg.ColumnRef:
		return w.about(n, t)
	case *pg.SubLink:
		return w.boundingSublink(m, t)
	case *pg.CurrentOfExpr:
		return true
	case *pg.TypeCast:
		return w.bounding(m.GetArg(), t)
	case *pg.FuncCall:
		return w.about(n, t) && !w.repeats(n, t) && !empties(n)
	}
	return false
}

func (w *walker) boundingBool(m *pg.BoolExpr, t *target) bool {
	switch m.GetBoolop() {
	case pg.BoolExprType_AND_EXPR:
		for _, a := range m.GetArgs() {
			if w.bounding(a, t) {
				return true
			}
		}
		return false
	case pg.BoolExprType_OR_EXPR:
		return w.boundingOr(m.GetArgs(), t)
	}
	return w.boundingNot(m.GetArgs(), t)
}

// boundingOr asks every arm to bound, and two arms never to be opposites: a column
// that two arms compare can be covered by them together, unless both are equalities.
func (w *walker) boundingOr(arms []*pg.Node, t *target) bool {
	seen := map[string]bool{}
	for _, a := range arms {
		if !w.bounding(a, t) {
			return false
		}
		exact := equality(a)
		for _, c := range w.columnsOf(a, t) {
			if open, ok := seen[c]; ok && (open || !exact) {
				return false
			}
			seen[c] = seen[c] || !exact
		}
	}
	return true
}

// equality says that a condition picks single values: x = 1, x IN (1, 2), x IS NULL.
func equality(n *pg.Node) bool {
	switch m := inner(n).(type) {
	case *pg.A_Expr:
		k := m.GetKind()
		return operatorOf(m) == "=" && (k == pg.A_Expr_Kind_AEXPR_OP || k == pg.A_Expr_Kind_AEXPR_IN || k == pg.A_Expr_Kind_AEXPR_OP_ANY)
	case *pg.NullTest:
		return m.GetNulltesttype() == pg.NullTestType_IS_NULL
	case *pg.BoolExpr:
		if m.GetBoolop() == pg.BoolExprType_NOT_EXPR {
			return false
		}
		for _, a := range m.GetArgs() {
			if !equality(a) {
				return false
			}
		}
		return true
	}
	return false
}

// boundingNot accepts the opposite of something that can hold for a row.
func (w *walker) boundingNot(args []*pg.Node, t *target) bool {
	if len(args) != 1 {
		return false
	}
	switch m := inner(args[0]).(type) {
	case *pg.ColumnRef:
		return w.about(args[0], t)
	case *pg.A_Expr:
		return w.boundingComparison(m, t)
	case *pg.SubLink:
		return w.boundingSublink(m, t)
	case *pg.NullTest:
		return m.GetNulltesttype() == pg.NullTestType_IS_NOT_NULL && w.about(m.GetArg(), t)
	}
	return false
}

func (w *walker) boundingTest(m *pg.BooleanTest, t *target) bool {
	switch m.GetBooltesttype() {
	case pg.BoolTestType_IS_TRUE:
		return w.bounding(m.GetArg(), t)
	case pg.BoolTestType_IS_FALSE:
		return w.boundingNot([]*pg.Node{m.GetArg()}, t)
	}
	return m.GetArg().GetColumnRef() != nil && w.about(m.GetArg(), t)
}

func operatorOf(m *pg.A_Expr) string {
	n := names(m.GetName())
	if len(n) == 0 {
		return ""
	}
	return n[len(n)-1]
}

// boundingComparison accepts a comparison that names a column of the target once,
// against something that is not the target's own whole content.
func (w *walker) boundingComparison(m *pg.A_Expr, t *target) bool {
	self := &pg.Node{Node: &pg.Node_AExpr{AExpr: m}}
	if !w.about(self, t) || w.repeats(self, t) || w.whole(self, t) {
		return false
	}
	switch m.GetKind() {
	case pg.A_Expr_Kind_AEXPR_LIKE, pg.A_Expr_Kind_AEXPR_ILIKE, pg.A_Expr_Kind_AEXPR_SIMILAR:
		return !wild(m.GetRexpr())
	case pg.A_Expr_Kind_AEXPR_DISTINCT:
		return m.GetRexpr() != nil && !m.GetRexpr().GetAConst().GetIsnull()
	case pg.A_Expr_Kind_AEXPR_OP:
		if op := operatorOf(m); strings.ContainsAny(op, "~") {
			return !wild(m.GetRexpr())
		}
		return !empty(m.GetRexpr()) && !empty(m.GetLexpr()) || operatorOf(m) == "="
	}
	return true
}

// boundingSublink accepts x IN (SELECT ...), and EXISTS where the query inside
// speaks of the target by name.
func (w *walker) boundingSublink(m *pg.SubLink, t *target) bool {
	self := &pg.Node{Node: &pg.Node_SubLink{SubLink: m}}
	if w.whole(self, t) {
		return false
	}
	if m.GetTestexpr() != nil {
		return w.about(m.GetTestexpr(), t)
	}
	return t != nil && w.named(self, t)
}

// wild says that a constant pattern matches everything or may: only wildcards, or
// an alternative.
func wild(n *pg.Node) bool {
	s, ok := literal(n)
	if !ok {
		return false
	}
	if strings.Contains(s, "|") {
		return true
	}
	for _, c := range s {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c > 0x7f || strings.ContainsRune("_-@/ :=#", c) && c != '_' {
			return false
		}
	}
	return true
}

// empty says that a node is the empty string, an infinity or a NULL.
func empty(n *pg.Node) bool {
	s, ok := literal(n)
	s = strings.ToLower(s)
	return ok && (s == "" || s == "{}" || s == "infinity" || s == "-infinity") || n.GetAConst().GetIsnull()
}

// empties says that a function is given the empty string: starts_with(x, ”).
func empties(n *pg.Node) bool {
	for _, a := range n.GetFuncCall().GetArgs() {
		if empty(a) {
			return true
		}
	}
	return false
}

// literal is a string constant, casts opened.
func literal(n *pg.Node) (string, bool) {
	for n.GetTypeCast() != nil {
		n = n.GetTypeCast().GetArg()
	}
	c := n.GetAConst()
	if c == nil {
		return "", false
	}
	s, ok := c.GetVal().(*pg.A_Const_Sval)
	if !ok {
		return "", false
	}
	return s.Sval.GetSval(), true
}
