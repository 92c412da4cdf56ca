package rules

import (
	"fmt"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// contradiction refuses x == "a" && x == "b": whatever x is, it is one text.
func (e *examiner) contradiction(parts []ast.Expr) {
	is := map[string]string{}
	for _, x := range conjuncts(parts) {
		field, value, ok := equality(x)
		if !ok {
			continue
		}
		if first, twice := is[field]; twice && first != value {
			at := e.tree.SourceInfo().GetStartLocation(x.ID())
			e.wrong(at.Line(), at.Column()+1, fmt.Sprintf("%s cannot be %q and %q", field, clip(first), clip(value)), "||, or one of them")
			return
		}
		is[field] = value
	}
}

// conjuncts are all parts of a chain of &&, which CEL nests.
func conjuncts(parts []ast.Expr) []ast.Expr {
	var all []ast.Expr
	for _, x := range parts {
		if x.Kind() == ast.CallKind && x.AsCall().FunctionName() == operators.LogicalAnd {
			all = append(all, conjuncts(x.AsCall().Args())...)
			continue
		}
		all = append(all, x)
	}
	return all
}

// equality reads field == "text", either way round.
func equality(x ast.Expr) (field, value string, ok bool) {
	if x.Kind() != ast.CallKind || x.AsCall().FunctionName() != operators.Equals {
		return "", "", false
	}
	a, b := x.AsCall().Args()[0], x.AsCall().Args()[1]
	if _, literally := literal(a); literally {
		a, b = b, a
	}
	value, ok = literal(b)
	if !ok {
		return "", "", false
	}
	field, ok = spelling(a)
	return field, value, ok
}

// spelling is a chain of fields as it is written, such as request.http.method.
func spelling(x ast.Expr) (string, bool) {
	switch x.Kind() {
	case ast.IdentKind:
		return x.AsIdent(), true
	case ast.SelectKind:
		of, ok := spelling(x.AsSelect().Operand())
		return of + "." + x.AsSelect().FieldName(), ok && !x.AsSelect().IsTestOnly()
	}
	return "", false
}
