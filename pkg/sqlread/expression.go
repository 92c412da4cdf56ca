package sqlread

import (
	"reflect"
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// visit reads one message inside a statement: expressions, clauses, queries.
func (w *walker) visit(m any) {
	switch n := m.(type) {
	case nil:
	case *pg.Node:
		w.visitNode(n)
	case *pg.SelectStmt:
		w.query(n, func() { w.selects(n) })
	case *pg.InsertStmt:
		w.query(n, func() { w.inserts(n) })
	case *pg.UpdateStmt:
		w.query(n, func() { w.updates(n) })
	case *pg.DeleteStmt:
		w.query(n, func() { w.deletes(n) })
	case *pg.MergeStmt:
		w.query(n, func() { w.merges(n) })
	case *pg.RangeVar:
		w.reads(n)
	case *pg.FuncCall:
		w.calls(n)
		w.descend(n)
	case *pg.A_Expr:
		w.expression(n)
		w.descend(n)
	case *pg.SubLink:
		w.operator(n.GetOperName())
		w.compares()
		w.descend(n)
	case *pg.SortBy:
		w.operator(n.GetUseOp())
		w.descend(n)
	case *pg.ColumnRef:
		w.fields(n.GetFields()[min(1, len(n.GetFields())):])
	case *pg.A_Indirection:
		w.fields(n.GetIndirection())
		w.descend(n)
	case *pg.TypeName:
		w.typed(n)
		w.descend(n)
	case *pg.CaseExpr, *pg.JoinExpr:
		w.compares()
		w.descend(n)
	case *pg.WithClause: // read where its query is
	default:
		w.young(m)
		w.descend(m)
	}
}

// visitNode reads what stands in a node, if its kind is known to do nothing by itself.
func (w *walker) visitNode(n *pg.Node) {
	m := inner(n)
	if m == nil {
		return
	}
	switch m.(type) {
	case *pg.SelectStmt, *pg.InsertStmt, *pg.UpdateStmt, *pg.DeleteStmt, *pg.MergeStmt:
	default:
		if !clauses[reflect.TypeOf(m).Elem().Name()] {
			w.unknown("it holds a node that is not known here")
			return
		}
	}
	if v := reflect.ValueOf(m); v.Kind() == reflect.Pointer && !v.IsNil() {
		w.visit(m)
	}
}

// expression notes an operator's use. BETWEEN and its like are named by words.
func (w *walker) expression(n *pg.A_Expr) {
	switch n.GetKind() {
	case pg.A_Expr_Kind_AEXPR_OP:
		w.operator(n.GetName())
	case pg.A_Expr_Kind_AEXPR_BETWEEN, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN, pg.A_Expr_Kind_AEXPR_BETWEEN_SYM, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM:
		w.compares()
	default:
		w.operator(n.GetName())
		w.compares()
	}
}

// operator notes an operator. One chosen from a schema is a function of that schema, and one
// that the server does not have a function of users.
func (w *walker) operator(name []*pg.Node) {
	if len(name) == 0 {
		return
	}
	schema, op := "", names(name)[len(name)-1]
	if len(name) > 1 {
		schema = names(name)[0]
	}
	switch {
	case schema == "pg_catalog":
		return
	case schema != "", !strings.Contains(operators, " "+op+" "):
		w.act(flow.Execute, object(schema, op))
	}
	w.uses(op)
}

// compares notes the operators that a clause finds by their names, in search_path.
func (w *walker) compares() {
	for _, op := range []string{"=", "<>", "<", ">", "<=", ">="} {
		w.uses(op)
	}
}

func (w *walker) uses(op string) { w.st.Operators = once(w.st.Operators, op) }

// fields notes what follows the dots of an expression.
func (w *walker) fields(list []*pg.Node) {
	for _, n := range list {
		if s := n.GetString_(); s != nil {
			w.st.Fields = once(w.st.Fields, s.GetSval())
		}
	}
}

// typed notes a type.
func (w *walker) typed(n *pg.TypeName) {
	if parts := names(n.GetNames()); len(parts) > 0 && parts[0] != "pg_catalog" {
		w.st.Types = once(w.st.Types, parts[len(parts)-1])
	}
}

func once(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// young notes what younger grammars know as an expression, and an older server as a call of
// whatever function has that name.
func (w *walker) young(m any) {
	name := ""
	switch n := m.(type) {
	case *pg.JsonFuncExpr:
		name = strings.ToLower(strings.TrimSuffix(n.GetOp().String(), "_OP"))
	case *pg.MergeSupportFunc:
		name = "merge_action"
	case *pg.JsonParseExpr:
		name = "json"
	case *pg.JsonScalarExpr:
		name = "json_scalar"
	case *pg.JsonSerializeExpr:
		name = "json_serialize"
	case *pg.JsonObjectConstructor:
		name = "json_object"
	case *pg.JsonArrayConstructor, *pg.JsonArrayQueryConstructor:
		name = "json_array"
	case *pg.JsonObjectAgg:
		name = "json_objectagg"
	case *pg.JsonArrayAgg:
		name = "json_arrayagg"
	case *pg.JsonTable:
		name = "json_table"
	default:
		return
	}
	w.st.Functions = append(w.st.Functions, Name{Name: name})
}

// operators are those of pg_catalog (PostgreSQL 15; 16 to 18 added none).
const operators = ` !! !~ !~* !~~ !~~* # ## #- #> #>> % & && &< &<| &> * *< *<= *<> *= *> *>= + - -> ->> -|- / < <-> << <<= <<| <= <> <@ <^ = > >= >> >>= >^ ? ?# ?& ?- ?-| ?| ?|| @ @-@ @> @? @@ @@@ ^ ^@ | |&> |/ |>> || ||/ ~ ~* ~<=~ ~<~ ~= ~>=~ ~>~ ~~ ~~* `

// names are the strings of a list of String nodes.
func names(list []*pg.Node) []string {
	out := make([]string, 0, len(list))
	for _, n := range list {
		out = append(out, n.GetString_().GetSval())
	}
	return out
}

// clauses are the nodes that do nothing by themselves: their children are read.
// A node that is not here, nor has its own case, is unknown.
var clauses = map[string]bool{
	"Alias": true, "RangeVar": true, "TableFunc": true, "Param": true, "GroupingFunc": true, "NamedArgExpr": true,
	"MergeSupportFunc": true, "BoolExpr": true, "SubLink": true, "CaseExpr": true, "CaseWhen": true, "RowExpr": true, "CoalesceExpr": true,
	"MinMaxExpr": true, "SQLValueFunction": true, "XmlExpr": true, "JsonFormat": true, "JsonReturning": true,
	"JsonValueExpr": true, "JsonIsPredicate": true, "JsonBehavior": true, "NullTest": true, "BooleanTest": true,
	"SetToDefault": true, "CurrentOfExpr": true, "JoinExpr": true, "TypeName": true, "ColumnRef": true,
	"ParamRef": true, "A_Expr": true, "TypeCast": true, "CollateClause": true, "RoleSpec": true, "FuncCall": true,
	"A_Star": true, "A_Indices": true, "A_Indirection": true, "A_ArrayExpr": true, "ResTarget": true,
	"MultiAssignRef": true, "SortBy": true, "WindowDef": true, "RangeSubselect": true, "RangeFunction": true,
	"RangeTableFunc": true, "RangeTableFuncCol": true, "RangeTableSample": true, "ColumnDef": true,
	"TableLikeClause": true, "IndexElem": true, "DefElem": true, "LockingClause": true, "XmlSerialize": true,
	"PartitionElem": true, "PartitionSpec": true, "PartitionBoundSpec": true, "PartitionRangeDatum": true,
	"PartitionCmd": true, "GroupingSet": true, "WithClause": true, "InferClause": true, "OnConflictClause": true,
	"CTESearchClause": true, "CTECycleClause": true, "CommonTableExpr": true, "MergeWhenClause": true,
	"TriggerTransition": true, "JsonOutput": true, "JsonArgument": true, "JsonFuncExpr": true,
	"JsonTablePathSpec": true, "JsonTable": true, "JsonTableColumn": true, "JsonKeyValue": true,
	"JsonParseExpr": true, "JsonScalarExpr": true, "JsonSerializeExpr": true, "JsonObjectConstructor": true,
	"JsonArrayConstructor": true, "JsonArrayQueryConstructor": true, "JsonAggConstructor": true,
	"JsonObjectAgg": true, "JsonArrayAgg": true, "ReturnStmt": true, "AlterTableCmd": true, "ObjectWithArgs": true,
	"AccessPriv": true, "Constraint": true, "CreateOpClassItem": true, "StatsElem": true, "FunctionParameter": true,
	"VacuumRelation": true, "PublicationTable": true, "PublicationObjSpec": true, "ReplicaIdentityStmt": true,
	"Integer": true, "Float": true, "Boolean": true, "String": true, "BitString": true, "List": true, "IntList": true,
	"OidList": true, "A_Const": true, "VariableSetStmt": true,
}
