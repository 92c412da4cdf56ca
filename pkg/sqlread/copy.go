package sqlread

import (
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// copies reads COPY.
func (w *walker) copies(n *pg.CopyStmt) {
	c := &Copy{In: n.GetIsFrom(), Format: "text"}
	w.st.Copy = c
	if rv := n.GetRelation(); rv != nil {
		w.copiesTable(n, c, w.relation(rv))
	} else {
		c.Query = parenthesised(w.text)
		w.under("copy", func() { w.statement(n.GetQuery()) })
		w.act(flow.CopyOut, "")
	}
	if n.GetIsProgram() || n.GetFilename() != "" {
		w.act(flow.ExecuteHost, "copy")
	}
	for _, o := range n.GetOptions() {
		if !c.option(o.GetDefElem()) {
			w.unknown("an option of its COPY has a value of a kind that is not known here")
		}
	}
	w.nodes(n.GetWhereClause())
}

func (w *walker) copiesTable(n *pg.CopyStmt, c *Copy, name string) {
	c.Relation = nameOf([]string{n.GetRelation().GetSchemaname(), n.GetRelation().GetRelname()})
	if cols := names(n.GetAttlist()); len(cols) > 0 {
		c.Columns = cols
	}
	if c.In {
		w.add(flow.Effect{Action: flow.CopyIn, Object: name, Columns: c.Columns, Bounded: true})
		return
	}
	w.add(flow.Effect{Action: flow.Read, Object: name, Columns: c.Columns})
	w.add(flow.Effect{Action: flow.CopyOut, Object: name, Columns: c.Columns})
}

// option takes over one option of COPY; false when its value cannot be told.
func (c *Copy) option(d *pg.DefElem) bool {
	name := strings.ToLower(d.GetDefname())
	if name == "header" {
		c.Header = truth(d.GetArg())
		return true
	}
	value, ok := optionText(d.GetArg())
	switch name {
	case "format":
		c.Format = strings.ToLower(value)
	case "delimiter":
		c.Delimiter = first(value)
	case "quote":
		c.Quote = first(value)
	case "escape":
		c.Escape = first(value)
	case "null":
		c.Null, c.NullSet = value, true
	case "encoding":
		c.Encoding = value
	default:
		return true // it does not decide where fields end
	}
	return ok
}

// optionText is an option's value as the server takes it for text (defGetString): CSV may well
// be delimited by 5 or by *, unquoted.
func optionText(n *pg.Node) (string, bool) {
	switch v := inner(n).(type) {
	case *pg.String:
		return v.GetSval(), true
	case *pg.Integer:
		return strconv.Itoa(int(v.GetIval())), true
	case *pg.Float:
		return v.GetFval(), true
	case *pg.A_Star:
		return "*", true
	}
	return "", false
}

func first(s string) byte {
	if s == "" {
		return 0
	}
	return s[0]
}

// parenthesised is the text between the first "(" of a statement and its match.
func parenthesised(text string) string {
	l := lexer{text: text}
	from, depth := -1, 0
	for {
		t, ok := l.next()
		if !ok || t.kind == broken {
			return ""
		}
		switch text[t.from:t.to] {
		case "(":
			if depth++; from < 0 {
				from = t.to
			}
		case ")":
			if depth--; depth == 0 {
				return strings.TrimSpace(text[from:t.from])
			}
		}
	}
}
