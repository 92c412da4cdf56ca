package sqlread

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// defines reads what makes, changes and drops objects.
func (w *walker) defines(m any) bool {
	return w.creates(m) || w.defineCode(m) || w.alters(m)
}

func (w *walker) creates(m any) bool {
	switch n := m.(type) {
	case *pg.CreateStmt:
		w.createTable(n)
	case *pg.CreateForeignTableStmt:
		w.createTable(n.GetBaseStmt())
		w.act(flow.Admin, object(n.GetServername()))
	case *pg.IndexStmt:
		w.act(flow.Create, w.relation(n.GetRelation()))
		w.nodes(n.GetIndexParams()...) // its expressions are evaluated for every row
		w.nodes(n.GetWhereClause())
	case *pg.CreateSeqStmt:
		w.act(flow.Create, w.relation(n.GetSequence()))
	case *pg.CreateStatsStmt:
		w.act(flow.Create, object(names(n.GetDefnames())...))
		w.silently(func() { w.descend(n) })
	case *pg.CreateDomainStmt:
		w.act(flow.Create, object(names(n.GetDomainname())...))
		w.silently(func() { w.descend(n) })
	case *pg.CompositeTypeStmt:
		w.act(flow.Create, object(n.GetTypevar().GetSchemaname(), n.GetTypevar().GetRelname()))
	case *pg.CreateEnumStmt:
		w.act(flow.Create, object(names(n.GetTypeName())...))
	case *pg.CreateRangeStmt:
		w.act(flow.Create, object(names(n.GetTypeName())...))
	case *pg.DefineStmt:
		w.act(flow.Create, object(names(n.GetDefnames())...))
	case *pg.CreateExtensionStmt:
		w.act(flow.Create, object(n.GetExtname()))
		w.act(flow.Admin, "extension")
	default:
		return false
	}
	return true
}

// createTable notes a table; its defaults and checks act when rows come, its
// partition bounds now.
func (w *walker) createTable(n *pg.CreateStmt) {
	w.act(flow.Create, w.relation(n.GetRelation()))
	w.silently(func() {
		w.nodes(n.GetTableElts()...)
		w.nodes(n.GetConstraints()...)
		w.nodes(n.GetInhRelations()...)
	})
	w.visit(n.GetPartbound())
	w.visit(n.GetPartspec())
	for _, parent := range n.GetInhRelations() {
		rv := parent.GetRangeVar()
		w.act(flow.Alter, object(rv.GetSchemaname(), rv.GetRelname()))
	}
}

// defineCode notes what holds code for later: its body is data until it is called.
func (w *walker) defineCode(m any) bool {
	switch n := m.(type) {
	case *pg.ViewStmt:
		w.act(flow.Create, w.relation(n.GetView()))
		w.silently(func() { w.nodes(n.GetQuery()) })
	case *pg.CreateFunctionStmt:
		w.createFunction(n)
	case *pg.CreateTrigStmt:
		w.act(flow.Create, w.relation(n.GetRelation()))
		w.silently(func() { w.visit(n.GetWhenClause()) })
	case *pg.RuleStmt:
		w.act(flow.Create, w.relation(n.GetRelation()))
	case *pg.CreateEventTrigStmt:
		w.act(flow.Create, object(n.GetTrigname()))
		w.act(flow.Admin, "event-trigger")
	default:
		return false
	}
	return true
}

// trusted are the languages that cannot reach past SQL.
var trusted = map[string]bool{"sql": true, "plpgsql": true, "plperl": true, "pltcl": true, "plv8": true, "pllua": true}

func (w *walker) createFunction(n *pg.CreateFunctionStmt) {
	name := object(names(n.GetFuncname())...)
	w.act(flow.Create, name)
	for _, o := range n.GetOptions() {
		d := o.GetDefElem()
		switch d.GetDefname() {
		case "language":
			if lang := strings.ToLower(d.GetArg().GetString_().GetSval()); !trusted[lang] {
				w.act(flow.ExecuteHost, "language "+lang)
			}
		case "security", "leakproof":
			w.act(flow.Grant, name)
		}
	}
	w.silently(func() { w.nodes(n.GetParameters()...) })
}

func (w *walker) alters(m any) bool {
	switch n := m.(type) {
	case *pg.DropStmt:
		w.drops(n)
	case *pg.AlterTableStmt:
		w.alterTable(n)
	case *pg.RenameStmt:
		w.act(flow.Alter, w.whichever(n.GetRelation(), n.GetObject()))
	case *pg.AlterObjectSchemaStmt:
		w.act(flow.Alter, w.whichever(n.GetRelation(), n.GetObject()))
	case *pg.AlterSeqStmt:
		w.act(flow.Alter, w.relation(n.GetSequence()))
	case *pg.AlterEnumStmt:
		w.act(flow.Alter, object(names(n.GetTypeName())...))
	case *pg.AlterTypeStmt:
		w.act(flow.Alter, object(names(n.GetTypeName())...))
	case *pg.AlterDomainStmt:
		w.act(flow.Alter, object(names(n.GetTypeName())...))
	case *pg.AlterFunctionStmt:
		w.act(flow.Alter, object(names(n.GetFunc().GetObjname())...))
		w.act(flow.Grant, object(names(n.GetFunc().GetObjname())...))
	case *pg.CommentStmt:
		w.act(flow.Alter, objectOf(n.GetObject()))
	default:
		return false
	}
	return true
}

func (w *walker) drops(n *pg.DropStmt) {
	for _, o := range n.GetObjects() {
		if list := names(o.GetList().GetItems()); len(list) > 0 && n.GetRemoveType() == pg.ObjectType_OBJECT_TABLE {
			w.st.Relations = append(w.st.Relations, nameOf(list))
		}
		w.act(flow.Drop, objectOf(o))
	}
}

// nameOf is a relation's name from its parts.
func nameOf(parts []string) Name {
	n := Name{Name: parts[len(parts)-1]}
	if len(parts) > 1 {
		n.Schema = parts[len(parts)-2]
	}
	return n
}

// alterTable notes an ALTER TABLE, its dropped columns also as drops, and reads its
// expressions: a default or a USING is evaluated for every row now.
func (w *walker) alterTable(n *pg.AlterTableStmt) {
	name := w.relation(n.GetRelation())
	w.act(flow.Alter, name)
	for _, c := range n.GetCmds() {
		cmd := c.GetAlterTableCmd()
		switch cmd.GetSubtype() {
		case pg.AlterTableType_AT_DropColumn:
			w.add(flow.Effect{Action: flow.Drop, Object: name, Columns: []string{cmd.GetName()}})
		case pg.AlterTableType_AT_ChangeOwner, pg.AlterTableType_AT_EnableRowSecurity, pg.AlterTableType_AT_DisableRowSecurity,
			pg.AlterTableType_AT_ForceRowSecurity, pg.AlterTableType_AT_NoForceRowSecurity:
			w.act(flow.Grant, name)
		case pg.AlterTableType_AT_DetachPartition, pg.AlterTableType_AT_DetachPartitionFinalize, pg.AlterTableType_AT_AttachPartition:
			if rv := cmd.GetDef().GetPartitionCmd().GetName(); rv != nil {
				w.act(flow.Alter, w.relation(rv))
			}
			continue
		}
		w.visit(cmd)
	}
}
