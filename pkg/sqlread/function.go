package sqlread

import (
	_ "embed"
	"sort"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// builtins are the functions of pg_catalog (PostgreSQL 15, and what 16 to 18 added) that
// change nothing and run no text: one name a line, in byte order. Made from pg_proc:
// every function that is not volatile, and the volatile ones that only look.
//
//go:embed builtins.txt
var builtins string

// calls notes a function call and what it does beyond computing a value.
func (w *walker) calls(n *pg.FuncCall) {
	parts := names(n.GetFuncname())
	if len(parts) == 0 {
		w.unknown("it calls a function without a name")
		return
	}
	name := nameOf(parts)
	w.st.Functions = append(w.st.Functions, name)
	switch {
	case name.Schema == "information_schema":
	case name.Schema != "" && name.Schema != "pg_catalog":
		w.act(flow.Execute, object(name.Schema, name.Name))
	case name.Name == "set_config":
		w.setConfig(n.GetArgs())
	default:
		w.builtin(name, n)
	}
}

func (w *walker) builtin(name Name, n *pg.FuncCall) {
	if d, ok := dangerous(name.Name); ok {
		if name.Name == "ts_rewrite" && len(n.GetArgs()) == 3 {
			return
		}
		w.st.Opaque = w.st.Opaque || d.opaque
		e := flow.Effect{Action: d.action, Object: name.Name, Via: "function"}
		if d.object {
			e.Object = argument(n.GetArgs())
		}
		w.under("function", func() { w.add(e) })
		return
	}
	if !pure(name.Name) {
		w.act(flow.Execute, object(name.Schema, name.Name))
	}
}

// argument is the first argument where it is a constant: the object's name.
func argument(args []*pg.Node) string {
	if len(args) == 0 {
		return ""
	}
	s, _ := literal(args[0])
	return s
}

// setConfig notes set_config(name, value, local). A name that is computed can be any, role
// included; but a setting is all it is: every pg_dump turns one off that way.
func (w *walker) setConfig(args []*pg.Node) {
	name, ok := "", false
	if len(args) > 0 {
		name, ok = literal(args[0])
	}
	w.under("function", func() {
		if !ok {
			w.act(flow.SetRole, "")
			w.act(flow.SessionSet, "all")
			return
		}
		w.sets(name, pg.VariableSetKind_VAR_SET_VALUE)
	})
}

// Knows says what is known of a builtin, or a contrib module's function, of that name: whether
// it gives a value and does nothing else, and whether it does something else.
func Knows(function string) (gives, does bool) {
	if d, ok := dangerous(function); ok {
		return d.action == flow.Read, d.action != flow.Read
	}
	return pure(function), function == "set_config"
}

// pure looks a name up among the builtins.
func pure(name string) bool {
	at := sort.Search(len(builtins), func(i int) bool { return lineAt(i) >= name })
	return at < len(builtins) && lineAt(at) == name
}

// lineAt is the line of builtins that byte i belongs to.
func lineAt(i int) string {
	from := strings.LastIndexByte(builtins[:i], '\n') + 1
	to := strings.IndexByte(builtins[i:], '\n')
	if to < 0 {
		return builtins[from:]
	}
	return builtins[from : i+to]
}

// danger is what a builtin does that its statement does not show.
type danger struct {
	action string
	object bool // its first argument names the object
	opaque bool // it runs text, or reads what the statement does not name
}

// dangerous finds a builtin, or a function of a contrib module, by its exact name or
// else by the longest prefix.
func dangerous(name string) (danger, bool) {
	if d, ok := dangers[name]; ok {
		return d, true
	}
	for _, f := range families {
		if strings.HasPrefix(name, f.prefix) && !pure(name) {
			return f.danger, true
		}
	}
	return danger{}, false
}

// family is a group of functions that begin alike.
type family struct {
	prefix string
	danger danger
}

// families are for names that are not pure and have no entry of their own.
var families = []family{
	{"pg_advisory_", danger{action: flow.Lock}},
	{"pg_try_advisory_", danger{action: flow.Lock}},
	{"pg_replication_", danger{action: flow.Replicate}},
	{"pg_logical_", danger{action: flow.Replicate, opaque: true}},
	{"pg_create_", danger{action: flow.Replicate}},
	{"pg_copy_", danger{action: flow.Replicate}},
	{"pg_sync_replication", danger{action: flow.Replicate}},
	{"pg_drop_replication_slot", danger{action: flow.Replicate}},
	{"pg_ls_", danger{action: flow.ExecuteHost}},
	{"pg_read_", danger{action: flow.ExecuteHost, opaque: true}},
	{"pg_file_", danger{action: flow.ExecuteHost}}, // adminpack
	{"pg_logdir_", danger{action: flow.ExecuteHost}},
	{"pg_stat_file", danger{action: flow.ExecuteHost}},
	{"pg_stat_reset", danger{action: flow.Admin}},
	{"pg_stat_statements_reset", danger{action: flow.Admin}},
	{"pg_restore_", danger{action: flow.Admin}},
	{"pg_clear_", danger{action: flow.Admin}},
	{"pg_wal_", danger{action: flow.Admin}},
	{"pg_rotate_", danger{action: flow.Admin}},
	{"pg_backup_", danger{action: flow.Admin}},
	{"pg_start_backup", danger{action: flow.Admin}},
	{"pg_stop_", danger{action: flow.Admin}},
	{"pg_log_", danger{action: flow.Admin}},
	{"binary_upgrade_", danger{action: flow.Admin}},
	{"brin_", danger{action: flow.Maintain}},
	{"gin_clean_", danger{action: flow.Maintain}},
	{"lo_", danger{action: flow.Update}},
	{"dblink", danger{action: flow.ExecuteHost, opaque: true}},
	{"postgres_fdw_", danger{action: flow.Admin}},
	{"query_to_", danger{action: flow.Unknown, opaque: true}},
	{"cursor_to_", danger{action: flow.Unknown, opaque: true}},
	{"table_to_", danger{action: flow.Read, object: true, opaque: true}},
	{"schema_to_", danger{action: flow.Read, opaque: true}},
	{"database_to_", danger{action: flow.Read, opaque: true}},
}

// dangers are single functions.
var dangers = map[string]danger{
	"setseed":                     {action: flow.SessionSet}, // random() gives it back
	"nextval":                     {action: flow.Update, object: true},
	"setval":                      {action: flow.Update, object: true},
	"pg_nextoid":                  {action: flow.Update},
	"txid_current":                {action: flow.Transaction},
	"pg_current_xact_id":          {action: flow.Transaction},
	"pg_export_snapshot":          {action: flow.Transaction},
	"pg_notify":                   {action: flow.Execute},
	"lo_export":                   {action: flow.ExecuteHost},
	"lo_import":                   {action: flow.ExecuteHost},
	"lo_get":                      {action: flow.Read, opaque: true},
	"loread":                      {action: flow.Read, opaque: true},
	"lo_unlink":                   {action: flow.Delete},
	"lowrite":                     {action: flow.Update},
	"pg_current_logfile":          {action: flow.ExecuteHost},
	"pg_hba_file_rules":           {action: flow.ExecuteHost},
	"pg_ident_file_mappings":      {action: flow.ExecuteHost},
	"pg_show_all_file_settings":   {action: flow.ExecuteHost},
	"pg_terminate_backend":        {action: flow.Admin},
	"pg_cancel_backend":           {action: flow.Admin},
	"pg_reload_conf":              {action: flow.Admin},
	"pg_promote":                  {action: flow.Admin},
	"pg_switch_wal":               {action: flow.Admin},
	"pg_create_restore_point":     {action: flow.Admin},
	"pg_import_system_collations": {action: flow.Create},
	"pg_extension_config_dump":    {action: flow.Admin},
	"pg_stat_force_next_flush":    {action: flow.Admin},
	"pg_prewarm":                  {action: flow.Maintain, object: true},
	"ts_stat":                     {action: flow.Unknown, opaque: true},
	"ts_rewrite":                  {action: flow.Unknown, opaque: true},
	"crosstab":                    {action: flow.Unknown, opaque: true},
	"connectby":                   {action: flow.Unknown, opaque: true},
	"xpath_table":                 {action: flow.Unknown, opaque: true},
}
