package sqlread

import (
	"encoding/json"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// does reads a DO block. The statements that stand in a PL/pgSQL body are read; what
// it puts together at run time is unknown.
func (w *walker) does(n *pg.DoStmt) {
	for _, a := range n.GetArgs() {
		d := a.GetDefElem()
		if lang := strings.ToLower(d.GetArg().GetString_().GetSval()); d.GetDefname() == "language" && lang != "plpgsql" {
			w.act(flow.ExecuteHost, "language "+lang)
			w.unknown("it runs a language that is not read here")
			return
		}
		if d.GetDefname() == "as" && initialisesRecord(d.GetArg().GetString_().GetSval()) {
			w.unknown("it gives a record its first value, which the PL/pgSQL parser does not show")
		}
	}
	body, err := pg.ParsePlPgSqlToJSON(w.text)
	var tree any
	if err != nil || json.Unmarshal([]byte(body), &tree) != nil {
		w.unknown("its PL/pgSQL could not be read")
		return
	}
	w.vars = map[string]bool{}
	variables(tree, w.vars)
	w.block(tree)
	w.vars = nil
}

// initialisesRecord finds "r record := f()" and "r t%ROWTYPE DEFAULT f()" in a body:
// libpg_query's tree leaves those expressions out.
func initialisesRecord(body string) bool {
	record, seen := false, false // in this declaration; in one before it, whose %TYPE may be taken
	for l := (lexer{text: body}); ; {
		t, ok := l.next()
		if !ok {
			return false
		}
		switch s := strings.ToLower(body[t.from:t.to]); {
		case t.kind == broken:
			return true
		case s == "record" || s == "rowtype":
			record, seen = true, true
		case s == "type" && seen:
			record = true
		case s == ";" || s == "begin" || s == "loop":
			record = false
		case record && (s == "=" || s == "default"):
			return true
		}
	}
}

// variables collects the names a block declares.
func variables(tree any, into map[string]bool) {
	switch v := tree.(type) {
	case []any:
		for _, e := range v {
			variables(e, into)
		}
	case map[string]any:
		if name, ok := v["refname"].(string); ok {
			into[name] = true
		}
		for _, e := range v {
			variables(e, into)
		}
	}
}

// block reads every expression of a PL/pgSQL tree, and its statements by name.
func (w *walker) block(tree any) {
	switch v := tree.(type) {
	case []any:
		for _, e := range v {
			w.block(e)
		}
	case map[string]any:
		for key, e := range v {
			w.element(key, e)
		}
	}
}

func (w *walker) element(key string, e any) {
	switch {
	case key == "PLpgSQL_expr":
		m, _ := e.(map[string]any)
		query, _ := m["query"].(string)
		mode, _ := m["parseMode"].(float64)
		w.embedded(query, int(mode))
		return
	case strings.Contains(key, "dyn"):
		w.act(flow.Unknown, "")
	case key == "PLpgSQL_stmt_commit" || key == "PLpgSQL_stmt_rollback":
		w.act(flow.Transaction, "")
	case strings.HasPrefix(key, "PLpgSQL_stmt_") && !steps[strings.TrimPrefix(key, "PLpgSQL_stmt_")]:
		w.unknown("its PL/pgSQL holds a statement that is not known here")
	}
	w.block(e)
}

// steps are the PL/pgSQL statements that do what their expressions do.
var steps = map[string]bool{
	"block": true, "assign": true, "if": true, "case": true, "loop": true, "while": true, "fori": true, "fors": true,
	"forc": true, "foreach_a": true, "exit": true, "return": true, "return_next": true, "return_query": true,
	"raise": true, "assert": true, "execsql": true, "dynexecute": true, "dynfors": true, "getdiag": true,
	"open": true, "fetch": true, "close": true, "perform": true, "call": true,
}

// embedded reads one SQL text of a PL/pgSQL body. modes are PostgreSQL's
// RawParseMode: 0 a statement, 2 an expression, from 3 an assignment.
func (w *walker) embedded(query string, mode int) {
	text := query
	switch {
	case mode == 2:
		text = "SELECT " + query
	case mode >= 3:
		text = "SELECT " + assigned(query)
	}
	if !within(text) {
		w.unknown("its PL/pgSQL is longer than can be read")
		return
	}
	tree, err := pg.Parse(text)
	if err != nil {
		w.unknown("its PL/pgSQL holds SQL that PostgreSQL's grammar does not know")
		return
	}
	for _, raw := range tree.GetStmts() {
		outer := w.text
		w.text = source(text, raw)
		w.statement(raw.GetStmt())
		w.text = outer
	}
}

// assigned is what stands right of := or = in an assignment, with the target's
// subscripts, which are expressions too.
func assigned(query string) string {
	l := lexer{text: query}
	for depth := 0; ; {
		t, ok := l.next()
		if !ok {
			return query
		}
		switch s := query[t.from:t.to]; {
		case s == "[" || s == "(":
			depth++
		case s == "]" || s == ")":
			depth--
		case s == "=" && depth == 0:
			return query[t.to:] + subscripts(query[:t.from])
		}
	}
}

// subscripts turns a[f(1)][2] := into ", f(1), 2", to be read as more columns.
func subscripts(left string) string {
	var b strings.Builder
	l := lexer{text: left}
	depth, from := 0, 0
	for {
		t, ok := l.next()
		if !ok {
			return b.String()
		}
		switch left[t.from:t.to] {
		case "[":
			if depth++; depth == 1 {
				from = t.to
			}
		case "]":
			if depth--; depth == 0 {
				b.WriteString(", " + strings.ReplaceAll(left[from:t.from], ":", ","))
			}
		}
	}
}
