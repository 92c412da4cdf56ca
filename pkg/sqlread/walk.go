package sqlread

import (
	"reflect"
	"strings"
	"sync"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// walker reads one statement's tree. What it has no words for it calls unknown.
type walker struct {
	text    string // of the statement
	st      *Statement
	via     string          // the outermost way in
	quiet   bool            // inside a definition: names are noted, effects are not
	bounded bool            // of the query whose relations are being read
	ctes    []string        // the CTE names in scope
	vars    map[string]bool // PL/pgSQL variables, which look like columns
	unread  string
}

// top reads a whole statement and leaves it with at least one effect.
func (w *walker) top(n *pg.Node) {
	w.st.Node = nodeName(n)
	w.statement(n)
	if len(w.st.Effects) == 0 {
		w.add(flow.Effect{Action: flow.Read, Bounded: true})
	}
}

// add notes an effect once.
func (w *walker) add(e flow.Effect) {
	if w.quiet {
		return
	}
	if w.via != "" {
		e.Via = w.via
	}
	for _, have := range w.st.Effects {
		if same(have, e) {
			return
		}
	}
	w.st.Effects = append(w.st.Effects, e)
}

func same(a, b flow.Effect) bool {
	return a.Action == b.Action && a.Object == b.Object && a.Bounded == b.Bounded && a.Via == b.Via &&
		reflect.DeepEqual(a.Columns, b.Columns)
}

// act notes an effect of an action on an object as a whole.
func (w *walker) act(action, object string) { w.add(flow.Effect{Action: action, Object: object}) }

// unknown notes that something was not understood.
func (w *walker) unknown(why string) {
	quiet := w.quiet
	w.quiet = false // even inside a definition
	w.act(flow.Unknown, "")
	w.quiet = quiet
	w.st.Opaque = true
	w.unread = why
}

// under reads with a way in; the outermost one is told.
func (w *walker) under(via string, read func()) {
	was := w.via
	if was == "" {
		w.via = via
	}
	read()
	w.via = was
}

// silently reads a definition: what stands in it happens when it is used.
func (w *walker) silently(read func()) {
	was := w.quiet
	w.quiet = true
	read()
	w.quiet = was
}

// relation notes a relation's name and gives its object.
func (w *walker) relation(rv *pg.RangeVar) string {
	if rv == nil {
		return ""
	}
	w.st.Relations = append(w.st.Relations, Name{rv.GetSchemaname(), rv.GetRelname()})
	schema := rv.GetSchemaname()
	if schema == "" && rv.GetRelpersistence() == "t" {
		schema = "pg_temp"
	}
	return object(schema, rv.GetRelname())
}

// reads notes a relation that is read, unless it is a CTE in scope.
func (w *walker) reads(rv *pg.RangeVar) {
	name := w.relation(rv)
	if rv.GetSchemaname() == "" && w.inScope(rv.GetRelname()) {
		return
	}
	if !w.quiet {
		w.st.Reads = append(w.st.Reads, Name{rv.GetSchemaname(), rv.GetRelname()})
	}
	w.add(flow.Effect{Action: flow.Read, Object: name, Bounded: w.bounded})
}

// writes notes a relation that is written to, and gives its object.
func (w *walker) writes(rv *pg.RangeVar) string {
	w.st.Writes = append(w.st.Writes, Name{rv.GetSchemaname(), rv.GetRelname()})
	return w.relation(rv)
}

func (w *walker) inScope(name string) bool {
	for _, c := range w.ctes {
		if c == name {
			return true
		}
	}
	return false
}

// object writes a name as policies know it; a part that holds a dot or a quote is
// quoted, so that one name never looks like two.
func object(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		if strings.ContainsAny(p, `."`) {
			p = `"` + strings.ReplaceAll(p, `"`, `""`) + `"`
		}
		b.WriteString(p)
	}
	return b.String()
}

// inner is what stands in a node: a *pg.SelectStmt and so on, nil when empty.
func inner(n *pg.Node) any {
	if n == nil || n.Node == nil {
		return nil
	}
	return reflect.ValueOf(n.Node).Elem().Field(0).Interface()
}

// nodeName is a node's name in PostgreSQL's tree.
func nodeName(n *pg.Node) string {
	if n == nil || n.Node == nil {
		return ""
	}
	return strings.TrimSuffix(strings.TrimPrefix(reflect.TypeOf(n.Node).Elem().Name(), "Node_"), "_")
}

// plans remembers, for each message type, the fields that hold other nodes.
type plans struct{ known sync.Map } // reflect.Type to []int

// fields finds every field of a message that can hold a node, so that a child
// that the grammar gains is walked without being named here.
func (p *plans) fields(t reflect.Type) []int {
	if have, ok := p.known.Load(t); ok {
		return have.([]int)
	}
	var list []int
	for i := range t.NumField() {
		f := t.Field(i)
		k := f.Type.Kind()
		if f.IsExported() && (k == reflect.Pointer || k == reflect.Interface || k == reflect.Slice && f.Type.Elem().Kind() == reflect.Pointer) {
			list = append(list, i)
		}
	}
	p.known.Store(t, list)
	return list
}

var layout = plans{}

// descend visits every child of a message.
func (w *walker) descend(m any) {
	v := reflect.ValueOf(m)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return
	}
	v = v.Elem()
	for _, i := range layout.fields(v.Type()) {
		f := v.Field(i)
		switch f.Kind() {
		case reflect.Slice:
			for j := range f.Len() {
				w.visit(f.Index(j).Interface())
			}
		default:
			if !f.IsNil() {
				w.visit(f.Interface())
			}
		}
	}
}

// nodes visits a list.
func (w *walker) nodes(list ...*pg.Node) {
	for _, n := range list {
		w.visit(n)
	}
}

// each shows every message below m, itself included, to see, which says whether
// to go deeper.
func each(m any, see func(any) bool) {
	if n, ok := m.(*pg.Node); ok {
		m = inner(n)
	}
	v := reflect.ValueOf(m)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct || !see(m) {
		return
	}
	v = v.Elem()
	for _, i := range layout.fields(v.Type()) {
		f := v.Field(i)
		if f.Kind() != reflect.Slice {
			if !f.IsNil() {
				each(f.Interface(), see)
			}
			continue
		}
		for j := range f.Len() {
			each(f.Index(j).Interface(), see)
		}
	}
}
