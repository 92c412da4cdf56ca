package sqlread

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// statement reads one statement. Each family says whether it was one of its own;
// what no family knows is unknown.
func (w *walker) statement(n *pg.Node) {
	m := inner(n)
	if m == nil {
		return
	}
	for _, family := range []func(any) bool{w.queries, w.session, w.carriers, w.defines, w.privileges, w.upkeep} {
		if family(m) {
			return
		}
	}
	if e, ok := utilities[nodeName(n)]; ok {
		w.act(e.action, e.object)
		w.silently(func() { w.descend(m) })
		return
	}
	w.unknown("it is a kind of statement that is not known here")
}

// utility is what a statement does that names no object worth telling.
type utility struct{ action, object string }

// utilities are the statements without a case of their own, by PostgreSQL's node name.
var utilities = map[string]utility{
	"AlterCollationStmt": {flow.Alter, ""}, "AlterDatabaseRefreshCollStmt": {flow.Alter, ""},
	"AlterEventTrigStmt": {flow.Alter, ""}, "AlterExtensionStmt": {flow.Alter, ""},
	"AlterExtensionContentsStmt": {flow.Alter, ""}, "AlterFdwStmt": {flow.Admin, "foreign-data-wrapper"},
	"AlterForeignServerStmt": {flow.Admin, "server"}, "AlterUserMappingStmt": {flow.Grant, "user-mapping"},
	"AlterObjectDependsStmt": {flow.Alter, ""}, "AlterOpFamilyStmt": {flow.Alter, ""},
	"AlterOperatorStmt": {flow.Alter, ""}, "AlterPublicationStmt": {flow.Replicate, ""},
	"AlterStatsStmt": {flow.Alter, ""}, "AlterSubscriptionStmt": {flow.Replicate, ""},
	"AlterTSConfigurationStmt": {flow.Alter, ""}, "AlterTsconfigurationStmt": {flow.Alter, ""},
	"AlterTSDictionaryStmt": {flow.Alter, ""}, "AlterTsdictionaryStmt": {flow.Alter, ""},
	"AlterTableMoveAllStmt": {flow.Alter, ""}, "AlterTableSpaceOptionsStmt": {flow.Alter, ""},
	"CheckPointStmt": {flow.Admin, "checkpoint"}, "CreateAmStmt": {flow.Create, ""}, "CreateCastStmt": {flow.Create, ""},
	"CreateConversionStmt": {flow.Create, ""}, "CreateFdwStmt": {flow.Admin, "foreign-data-wrapper"},
	"CreateForeignServerStmt": {flow.Admin, "server"}, "CreateOpClassStmt": {flow.Create, ""},
	"CreateOpFamilyStmt": {flow.Create, ""}, "CreatePLangStmt": {flow.ExecuteHost, "language"},
	"CreatePlangStmt": {flow.ExecuteHost, "language"}, "CreateSubscriptionStmt": {flow.Replicate, ""},
	"CreatePublicationStmt": {flow.Replicate, ""}, "CreateTransformStmt": {flow.Create, ""},
	"CreateUserMappingStmt": {flow.Grant, "user-mapping"}, "DropUserMappingStmt": {flow.Drop, "user-mapping"},
	"DropSubscriptionStmt": {flow.Drop, ""}, "ImportForeignSchemaStmt": {flow.Create, ""},
	"LoadStmt": {flow.ExecuteHost, "library"}, "CreateTableSpaceStmt": {flow.ExecuteHost, "tablespace"},
	"DropTableSpaceStmt": {flow.Drop, "tablespace"}, "SecLabelStmt": {flow.Alter, ""},
}

// queries reads what has rows.
func (w *walker) queries(m any) bool {
	switch n := m.(type) {
	case *pg.SelectStmt, *pg.InsertStmt, *pg.UpdateStmt, *pg.DeleteStmt, *pg.MergeStmt:
		w.visit(n)
	case *pg.ReturnStmt, *pg.PLAssignStmt:
		w.descend(n)
	case *pg.CreateTableAsStmt:
		w.act(flow.Create, w.relation(n.GetInto().GetRel()))
		w.statement(n.GetQuery())
	case *pg.DeclareCursorStmt:
		w.under("cursor", func() { w.statement(n.GetQuery()) })
	case *pg.TruncateStmt:
		w.each(flow.Truncate, n.GetRelations())
	case *pg.LockStmt:
		w.each(flow.Lock, n.GetRelations())
	case *pg.CopyStmt:
		w.copies(n)
	default:
		return false
	}
	return true
}

// each notes an action on every relation of a list.
func (w *walker) each(action string, list []*pg.Node) {
	for _, n := range list {
		w.act(action, w.relation(n.GetRangeVar()))
	}
}

// carriers reads statements that carry others.
func (w *walker) carriers(m any) bool {
	switch n := m.(type) {
	case *pg.ExplainStmt:
		w.explains(n)
	case *pg.PrepareStmt:
		w.st.Prepares = n.GetName()
		w.under("prepare", func() { w.statement(n.GetQuery()) })
	case *pg.ExecuteStmt:
		w.st.Executes, w.st.Opaque = n.GetName(), true
		w.under("execute", func() { w.act(flow.Unknown, n.GetName()) })
		w.nodes(n.GetParams()...)
	case *pg.FetchStmt:
		w.st.Opaque = true
		w.under("cursor", func() { w.add(flow.Effect{Action: flow.Read, Bounded: true}) })
	case *pg.DoStmt:
		w.st.Opaque = true
		w.under("do", func() { w.does(n) })
	case *pg.CallStmt:
		w.st.Opaque = true
		w.act(flow.Execute, object(names(n.GetFunccall().GetFuncname())...))
		w.visit(n.GetFunccall())
	case *pg.CreateSchemaStmt:
		w.act(flow.Create, object(n.GetSchemaname()))
		for _, e := range n.GetSchemaElts() {
			w.under("schema", func() { w.statement(e) })
		}
	default:
		return false
	}
	return true
}

// explains reads EXPLAIN: with ANALYZE the statement runs; without, it is planned,
// which reads statistics and may evaluate functions that are not volatile.
func (w *walker) explains(n *pg.ExplainStmt) {
	if analyzes(n.GetOptions()) {
		w.under("explain-analyze", func() { w.statement(n.GetQuery()) })
		return
	}
	plan := &walker{text: w.text, st: &Statement{}, ctes: w.ctes, vars: w.vars}
	plan.statement(n.GetQuery())
	w.st.Relations = append(w.st.Relations, plan.st.Relations...)
	w.st.Functions = append(w.st.Functions, plan.st.Functions...)
	w.st.Operators = append(w.st.Operators, plan.st.Operators...)
	w.st.Fields = append(w.st.Fields, plan.st.Fields...)
	w.st.Types = append(w.st.Types, plan.st.Types...)
	w.st.Opaque, w.st.Executes = w.st.Opaque || plan.st.Opaque, ""
	if plan.unread != "" {
		w.unread = plan.unread
	}
	w.under("explain", func() { w.planned(plan.st.Effects) })
}

func (w *walker) planned(effects []flow.Effect) {
	for _, e := range effects {
		switch e.Action {
		case flow.Insert, flow.Update, flow.Delete, flow.Merge:
			w.add(flow.Effect{Action: flow.Read, Object: e.Object, Bounded: e.Bounded})
		case flow.Read, flow.Execute, flow.Unknown, flow.ExecuteHost:
			w.add(e)
		}
	}
}

// analyzes says that some ANALYZE option is on; PostgreSQL takes the last one.
func analyzes(options []*pg.Node) bool {
	for _, o := range options {
		d := o.GetDefElem()
		if strings.EqualFold(d.GetDefname(), "analyze") && truth(d.GetArg()) {
			return true
		}
	}
	return false
}

// truth reads an option's boolean: on unless it says off.
func truth(n *pg.Node) bool {
	switch v := inner(n).(type) {
	case *pg.Integer:
		return v.GetIval() != 0
	case *pg.Boolean:
		return v.GetBoolval()
	case *pg.String:
		s := strings.ToLower(v.GetSval())
		return s != "off" && s != "false"
	}
	return true
}
