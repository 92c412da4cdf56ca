package rules

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// examine walks a checked condition: it learns its traits and refuses
// comparisons with words that do not exist.
func (c *condition) examine(tree *ast.AST) {
	e := &examiner{condition: c, tree: tree}
	c.traits.timeless = true
	e.walk(tree.Expr(), 0)
}

type examiner struct {
	*condition
	tree *ast.AST
}

func (e *examiner) walk(x ast.Expr, depth int) {
	switch x.Kind() {
	case ast.IdentKind:
		e.ident(x.AsIdent())
	case ast.SelectKind:
		e.selection(x.AsSelect())
		e.walk(x.AsSelect().Operand(), depth)
	case ast.CallKind:
		e.call(x.AsCall())
		if x.AsCall().IsMemberFunction() {
			e.walk(x.AsCall().Target(), depth)
		}
		e.all(x.AsCall().Args(), depth)
	case ast.ListKind:
		e.all(x.AsList().Elements(), depth)
	case ast.MapKind:
		for _, entry := range x.AsMap().Entries() {
			e.walk(entry.AsMapEntry().Key(), depth)
			e.walk(entry.AsMapEntry().Value(), depth)
		}
	case ast.ComprehensionKind:
		e.comprehension(x.AsComprehension(), depth)
	case ast.StructKind:
		e.wrong(1, 1, "a condition cannot make objects", "")
	}
}

func (e *examiner) all(list []ast.Expr, depth int) {
	for _, x := range list {
		e.walk(x, depth)
	}
}

func (e *examiner) comprehension(f ast.ComprehensionExpr, depth int) {
	e.walk(f.IterRange(), depth)
	e.traits.depth = max(e.traits.depth, depth+1)
	e.all([]ast.Expr{f.AccuInit(), f.LoopCondition(), f.LoopStep(), f.Result()}, depth+1)
}

func (e *examiner) ident(name string) {
	if name == "now" {
		e.traits.timeless = false
	}
}

func (e *examiner) selection(s ast.SelectExpr) {
	w, object, ok := e.wordAt(s)
	if !ok {
		return
	}
	if !w.timeless {
		e.traits.timeless = false
	}
	switch {
	case object == "Request" && (w.name == "kind" || w.name == "function"):
		e.traits.namesKind = true
	case object == "Request" && w.name == "http" && s.IsTestOnly():
		e.traits.asksHTTP = true
	case object == "Request" && w.name == "http":
		e.traits.readsHTTP = true
	}
	if (object == "Request" || object == "Target") && (w.name == "protocol" || w.name == "kind") {
		e.traits.asksHTTP = true
	}
}

// wordAt finds the field a selection reads.
func (e *examiner) wordAt(s ast.SelectExpr) (w word, object string, ok bool) {
	t := e.tree.GetType(s.Operand().ID())
	if t == nil || t.Kind() != types.StructKind {
		return word{}, "", false
	}
	w, ok = wordOf(t.TypeName(), s.FieldName())
	return w, t.TypeName(), ok
}

// call checks comparisons of a field that has a closed list of values.
func (e *examiner) call(call ast.CallExpr) {
	switch call.FunctionName() {
	case operators.Equals, operators.NotEquals, operators.In:
	default:
		return
	}
	a, b := call.Args()[0], call.Args()[1]
	if w, ok := e.closed(a); ok {
		e.compare(w, b)
	} else if w, ok := e.closed(b); ok {
		e.compare(w, a)
	}
}

func (e *examiner) closed(x ast.Expr) (word, bool) {
	if x.Kind() != ast.SelectKind {
		return word{}, false
	}
	w, _, ok := e.wordAt(x.AsSelect())
	return w, ok && w.values != nil
}

func (e *examiner) compare(w word, x ast.Expr) {
	if x.Kind() == ast.ListKind {
		for _, element := range x.AsList().Elements() {
			e.compare(w, element)
		}
		return
	}
	if x.Kind() != ast.LiteralKind {
		return
	}
	literal, ok := x.AsLiteral().(types.String)
	if !ok {
		return
	}
	if w.name == "action" && string(literal) == "unknown" {
		e.traits.namesUnknown = true
	}
	if !slices.Contains(w.values, string(literal)) {
		at := e.tree.SourceInfo().GetStartLocation(x.ID())
		e.wrong(at.Line(), at.Column()+1, fmt.Sprintf("no %s is %q", w.name, clip(string(literal))), didYouMean(string(literal), w.values))
	}
}
