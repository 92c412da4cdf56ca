package rules

import (
	"fmt"
	"regexp"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
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
		e.label(s.Operand(), s.FieldName(), s.IsTestOnly())
		return
	}
	if !w.timeless {
		e.traits.timeless = false
	}
	switch {
	case object == "Request" && (w.name == "kind" || w.name == "function"):
		e.traits.namesKind = true
	case object == "Request" && w.name == "effects":
		e.traits.readsEffects = true
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

// label notes a label that is read, or asked for by has() or in, if of is identity.labels.
func (e *examiner) label(of ast.Expr, key string, asked bool) {
	if of.Kind() != ast.SelectKind {
		return
	}
	if w, object, ok := e.wordAt(of.AsSelect()); !ok || object != "Identity" || w.name != "labels" {
		return
	}
	if asked {
		e.traits.labelsAsked = append(e.traits.labelsAsked, key)
		return
	}
	e.traits.labelsRead = append(e.traits.labelsRead, key)
}

// call looks at the calls that name words: comparisons, keys and time zones.
func (e *examiner) call(call ast.CallExpr) {
	args := call.Args()
	switch call.FunctionName() {
	case operators.LogicalAnd:
		e.contradiction(args)
	case operators.Equals, operators.NotEquals:
		e.mention(args[0], args[1])
		e.mention(args[1], args[0])
	case operators.In:
		e.mention(args[0], args[1])
		e.mention(args[1], args[0])
		if key, ok := literal(args[0]); ok {
			e.label(args[1], key, true)
		}
	case operators.Index:
		if key, ok := literal(args[1]); ok {
			e.label(args[0], key, false)
		}
	case overloads.TypeConvertDyn:
		e.wrong(1, 1, "dyn hides misspelt words", "leave it out")
	case overloads.TimeGetHours, overloads.TimeGetDayOfWeek, overloads.TimeGetDate, overloads.TimeGetMinutes, overloads.TimeGetMonth:
		if len(args) == 1 {
			e.zone(args[0])
		}
	}
}

// zone refuses a time zone that does not exist.
func (e *examiner) zone(x ast.Expr) {
	name, ok := literal(x)
	if !ok || zoneOffset.MatchString(name) {
		return
	}
	if _, err := time.LoadLocation(name); err != nil {
		at := e.tree.SourceInfo().GetStartLocation(x.ID())
		e.wrong(at.Line(), at.Column()+1, fmt.Sprintf("no time zone is %q", clip(name)), `such as "Europe/Berlin" or "+01:00"`)
	}
}

var zoneOffset = regexp.MustCompile(`^[+-]?[0-9]{1,2}:[0-9]{2}$`)

// literal is the text of a text literal.
func literal(x ast.Expr) (string, bool) {
	if x.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := x.AsLiteral().(types.String)
	return string(s), ok
}
