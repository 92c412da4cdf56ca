package sqlread

import (
	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// withs is any statement that can begin with WITH.
type withs interface{ GetWithClause() *pg.WithClause }

// query reads a statement's CTEs, then the statement with their names in scope.
// A CTE sees those before it, all of them under RECURSIVE; its own name otherwise
// means a table.
func (w *walker) query(n withs, read func()) {
	was, bounded := w.ctes, w.bounded
	with := n.GetWithClause()
	w.ctes = append([]string(nil), was...)
	if with.GetRecursive() {
		for _, c := range with.GetCtes() {
			w.ctes = append(w.ctes, c.GetCommonTableExpr().GetCtename())
		}
	}
	for _, c := range with.GetCtes() {
		w.under("cte", func() { w.descend(c.GetCommonTableExpr()) })
		w.ctes = append(w.ctes, c.GetCommonTableExpr().GetCtename())
	}
	read()
	w.ctes, w.bounded = was, bounded
}

func (w *walker) selects(n *pg.SelectStmt) {
	if into := n.GetIntoClause(); into != nil {
		w.act(flow.Create, w.relation(into.GetRel()))
		w.nodes(into.GetOptions()...)
	}
	w.bounded = limited(n.GetLimitCount()) || w.bounding(n.GetWhereClause(), nil)
	w.nodes(n.GetDistinctClause()...)
	w.nodes(n.GetTargetList()...)
	w.nodes(n.GetFromClause()...)
	w.nodes(n.GetWhereClause(), n.GetHavingClause(), n.GetLimitOffset(), n.GetLimitCount())
	w.nodes(n.GetGroupClause()...)
	w.nodes(n.GetWindowClause()...)
	w.nodes(n.GetValuesLists()...)
	w.nodes(n.GetSortClause()...)
	for _, arm := range []*pg.SelectStmt{n.GetLarg(), n.GetRarg()} {
		if arm != nil {
			w.visit(arm)
		}
	}
	for _, l := range n.GetLockingClause() {
		w.locks(n, l.GetLockingClause())
	}
}

// locks notes FOR UPDATE and its like on the relations it names, or on all.
func (w *walker) locks(n *pg.SelectStmt, l *pg.LockingClause) {
	listed := l.GetLockedRels()
	aliases := map[string]bool{}
	for _, r := range listed {
		aliases[r.GetRangeVar().GetRelname()] = true
	}
	found := false
	for _, f := range n.GetFromClause() {
		for _, rv := range relationsOf(f) {
			if len(listed) == 0 || aliases[alias(rv)] {
				found = true
				w.add(flow.Effect{Action: flow.Lock, Object: object(rv.GetSchemaname(), rv.GetRelname()), Bounded: w.bounded})
			}
		}
	}
	if !found {
		w.add(flow.Effect{Action: flow.Lock, Bounded: w.bounded})
	}
}

// relationsOf are the relations of a FROM item, joins opened.
func relationsOf(n *pg.Node) []*pg.RangeVar {
	if rv := n.GetRangeVar(); rv != nil {
		return []*pg.RangeVar{rv}
	}
	if j := n.GetJoinExpr(); j != nil {
		return append(relationsOf(j.GetLarg()), relationsOf(j.GetRarg())...)
	}
	return nil
}

func (w *walker) inserts(n *pg.InsertStmt) {
	name := w.writes(n.GetRelation())
	w.add(flow.Effect{Action: flow.Insert, Object: name, Columns: columns(n.GetCols()), Bounded: true})
	if c := n.GetOnConflictClause(); c != nil {
		if c.GetAction() != pg.OnConflictAction_ONCONFLICT_NOTHING {
			w.under("on-conflict", func() {
				w.add(flow.Effect{Action: flow.Update, Object: name, Columns: columns(c.GetTargetList()), Bounded: true})
			})
		}
		w.descend(c)
	}
	w.nodes(n.GetCols()...)
	w.nodes(n.GetSelectStmt())
	w.nodes(n.GetReturningList()...)
}

func (w *walker) updates(n *pg.UpdateStmt) {
	t := w.aimed(n, n.GetRelation(), n.GetFromClause())
	w.bounded = w.bounding(n.GetWhereClause(), t)
	w.add(flow.Effect{Action: flow.Update, Object: w.writes(n.GetRelation()), Columns: columns(n.GetTargetList()), Bounded: w.bounded})
	w.nodes(n.GetTargetList()...)
	w.nodes(n.GetFromClause()...)
	w.nodes(n.GetWhereClause())
	w.nodes(n.GetReturningList()...)
	if n.GetRelation().GetRelname() == "pg_settings" {
		w.under("pg_settings", func() { w.act(flow.SetRole, "") }) // its rule calls set_config
	}
}

func (w *walker) deletes(n *pg.DeleteStmt) {
	t := w.aimed(n, n.GetRelation(), n.GetUsingClause())
	w.bounded = w.bounding(n.GetWhereClause(), t)
	w.add(flow.Effect{Action: flow.Delete, Object: w.writes(n.GetRelation()), Bounded: w.bounded})
	w.nodes(n.GetUsingClause()...)
	w.nodes(n.GetWhereClause())
	w.nodes(n.GetReturningList()...)
}

func (w *walker) merges(n *pg.MergeStmt) {
	t := w.aimed(n, n.GetRelation(), []*pg.Node{n.GetSourceRelation()})
	w.bounded = w.bounding(n.GetJoinCondition(), t)
	name := w.writes(n.GetRelation())
	w.add(flow.Effect{Action: flow.Merge, Object: name, Bounded: w.bounded})
	for _, c := range n.GetMergeWhenClauses() {
		w.under("merge", func() { w.mergeWhen(c.GetMergeWhenClause(), name, w.bounded, t) })
	}
	w.nodes(n.GetSourceRelation(), n.GetJoinCondition())
	w.nodes(n.GetMergeWhenClauses()...)
	w.nodes(n.GetReturningList()...)
}

// mergeWhen notes what one WHEN does. NOT MATCHED BY SOURCE reaches the rows that
// the join condition leaves out: only its own condition bounds it.
func (w *walker) mergeWhen(c *pg.MergeWhenClause, name string, bounded bool, t *target) {
	if c.GetMatchKind() == pg.MergeMatchKind_MERGE_WHEN_NOT_MATCHED_BY_SOURCE {
		bounded = false
	}
	bounded = bounded || w.bounding(c.GetCondition(), t)
	e := flow.Effect{Object: name, Bounded: bounded, Columns: columns(c.GetTargetList())}
	switch c.GetCommandType() {
	case pg.CmdType_CMD_INSERT:
		e.Action, e.Bounded = flow.Insert, true
	case pg.CmdType_CMD_UPDATE:
		e.Action = flow.Update
	case pg.CmdType_CMD_DELETE:
		e.Action, e.Columns = flow.Delete, nil
	default:
		return // DO NOTHING
	}
	w.add(e)
}

// columns are the names of a list of targets; nil when there are none.
func columns(list []*pg.Node) []string {
	var out []string
	for _, n := range list {
		if name := n.GetResTarget().GetName(); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// limited says that a LIMIT stands there and is not LIMIT ALL.
func limited(n *pg.Node) bool { return n != nil && !n.GetAConst().GetIsnull() }
