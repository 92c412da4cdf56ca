package sqlread

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// session reads what changes the session or its transaction only.
func (w *walker) session(m any) bool {
	switch n := m.(type) {
	case *pg.TransactionStmt:
		w.act(flow.Transaction, strings.TrimPrefix(n.GetKind().String(), "TRANS_STMT_"))
	case *pg.VariableSetStmt:
		w.sets(n.GetName(), n.GetKind())
	case *pg.VariableShowStmt:
		w.act(flow.Read, "")
	case *pg.DiscardStmt:
		w.act(flow.SessionSet, "discard")
	case *pg.DeallocateStmt:
		w.act(flow.SessionSet, "deallocate")
	case *pg.ClosePortalStmt:
		w.act(flow.SessionSet, "close")
	case *pg.ConstraintsSetStmt:
		w.act(flow.Transaction, "constraints")
	case *pg.ListenStmt:
		w.act(flow.SessionSet, "listen")
	case *pg.UnlistenStmt:
		w.act(flow.SessionSet, "unlisten")
	case *pg.NotifyStmt:
		w.act(flow.Execute, "pg_notify")
	default:
		return false
	}
	return true
}

// sets notes SET name, SET ROLE and SET TRANSACTION.
func (w *walker) sets(name string, kind pg.VariableSetKind) {
	name = strings.ToLower(name)
	switch {
	case name == "role" || name == "session_authorization":
		w.act(flow.SetRole, "")
	case name == "transaction" || strings.HasPrefix(name, "transaction "):
		w.act(flow.Transaction, "set")
	case kind == pg.VariableSetKind_VAR_RESET_ALL:
		w.act(flow.SessionSet, "all")
	default:
		w.act(flow.SessionSet, name)
	}
}

// upkeep reads maintenance and what reaches the whole server.
func (w *walker) upkeep(m any) bool {
	switch n := m.(type) {
	case *pg.VacuumStmt:
		w.vacuums(n)
	case *pg.ClusterStmt:
		w.act(flow.Maintain, w.relation(n.GetRelation()))
	case *pg.ReindexStmt:
		name := w.relation(n.GetRelation())
		if name == "" {
			name = object(n.GetName())
		}
		w.act(flow.Maintain, name)
	case *pg.RefreshMatViewStmt:
		w.act(flow.Maintain, w.relation(n.GetRelation()))
	case *pg.AlterSystemStmt:
		w.act(flow.Admin, n.GetSetstmt().GetName())
	case *pg.CreatedbStmt:
		w.act(flow.Create, object(n.GetDbname()))
	case *pg.DropdbStmt:
		w.act(flow.Drop, object(n.GetDbname()))
	case *pg.AlterDatabaseStmt:
		w.act(flow.Alter, object(n.GetDbname()))
	case *pg.AlterDatabaseSetStmt:
		w.act(flow.Alter, object(n.GetDbname()))
	default:
		return false
	}
	return true
}

func (w *walker) vacuums(n *pg.VacuumStmt) {
	for _, r := range n.GetRels() {
		v := r.GetVacuumRelation()
		w.act(flow.Maintain, w.relation(v.GetRelation()))
	}
	if len(n.GetRels()) == 0 {
		w.act(flow.Maintain, "")
	}
}

// privileges reads what changes who may do what.
func (w *walker) privileges(m any) bool {
	switch n := m.(type) {
	case *pg.GrantStmt:
		w.grants(n)
	case *pg.AlterDefaultPrivilegesStmt:
		w.act(flow.Grant, "")
	case *pg.GrantRoleStmt:
		for _, r := range n.GetGrantedRoles() {
			w.act(flow.Grant, object(r.GetAccessPriv().GetPrivName()))
		}
	case *pg.CreateRoleStmt:
		w.act(flow.Create, object(n.GetRole()))
		w.act(flow.Grant, object(n.GetRole()))
	case *pg.AlterRoleStmt:
		w.act(flow.Grant, object(n.GetRole().GetRolename()))
	case *pg.AlterRoleSetStmt:
		w.act(flow.Grant, object(n.GetRole().GetRolename()))
	case *pg.DropRoleStmt:
		for _, r := range n.GetRoles() {
			w.act(flow.Drop, object(r.GetRoleSpec().GetRolename()))
		}
		w.act(flow.Grant, "")
	case *pg.DropOwnedStmt:
		w.act(flow.Drop, "")
		w.act(flow.Grant, "")
	case *pg.ReassignOwnedStmt:
		w.act(flow.Grant, "")
	case *pg.AlterOwnerStmt:
		w.act(flow.Grant, w.whichever(n.GetRelation(), n.GetObject()))
		w.act(flow.Alter, w.whichever(n.GetRelation(), n.GetObject()))
	case *pg.CreatePolicyStmt:
		w.act(flow.Grant, w.relation(n.GetTable()))
		w.silently(func() { w.descend(n) })
	case *pg.AlterPolicyStmt:
		w.act(flow.Grant, w.relation(n.GetTable()))
		w.silently(func() { w.descend(n) })
	default:
		return false
	}
	return true
}

func (w *walker) grants(n *pg.GrantStmt) {
	for _, o := range n.GetObjects() {
		if rv := o.GetRangeVar(); rv != nil {
			w.act(flow.Grant, w.relation(rv))
			continue
		}
		w.act(flow.Grant, objectOf(o))
	}
	if len(n.GetObjects()) == 0 {
		w.act(flow.Grant, "")
	}
}

// whichever is the object a statement names as a relation or otherwise.
func (w *walker) whichever(rv *pg.RangeVar, n *pg.Node) string {
	if rv != nil {
		return w.relation(rv)
	}
	return objectOf(n)
}

// objectOf names what DROP, COMMENT and their like name.
func objectOf(n *pg.Node) string {
	switch o := inner(n).(type) {
	case *pg.String:
		return object(o.GetSval())
	case *pg.List:
		return object(names(o.GetItems())...)
	case *pg.ObjectWithArgs:
		return object(names(o.GetObjname())...)
	case *pg.TypeName:
		return object(names(o.GetNames())...)
	case *pg.RangeVar:
		return object(o.GetSchemaname(), o.GetRelname())
	}
	return ""
}
