package rules

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"go.yaml.in/yaml/v3"
)

// condition is a rule's when, compiled. The zero condition is always true.
type condition struct {
	text string
	at   place
	node *yaml.Node
	src  *reader

	quick   cel.Program // for requests of ordinary size
	bounded cel.Program // with a cost limit, for the rest
	constant
	traits traitsOf
}

// constant says that a condition needs no evaluation.
type constant uint8

const (
	depends constant = iota
	always
	never
)

// traitsOf is what load learns of a condition from its tree.
type traitsOf struct {
	timeless     bool // see Decision.Timeless
	namesKind    bool // looks at request.kind or request.function
	namesUnknown bool // compares with the action "unknown"
	readsHTTP    bool // looks into request.http
	readsEffects bool // looks into request.effects
	asksHTTP     bool // guards that by has(request.http), or by a protocol or kind
	depth        int  // of nested macros

	mentions                []mention // texts that fields are compared with
	labelsRead, labelsAsked []string  // keys of identity.labels that are read, and that are asked for first
}

const (
	maxCondition = 8 << 10 // bytes
	maxCost      = 200_000 // CEL cost units, roughly 10 ms
	maxDepth     = 4       // macros inside macros
)

// condition keeps the text of a when; compile turns it into a program.
func (r *reader) condition(into *condition) func(*yaml.Node) {
	return func(n *yaml.Node) {
		into.at, into.node, into.src = r.at(n), n, r
		switch {
		case n.Kind == yaml.ScalarNode && strings.TrimSpace(n.Value) == "":
			r.wrong(n, "an empty condition", "leave when out for always")
		case len(n.Value) > maxCondition:
			r.wrong(n, "a condition longer than 8 KiB", "split the rule")
		default:
			r.text(&into.text)(n)
		}
	}
}

// language is the CEL environment of all conditions.
func language() (*cel.Env, error) {
	words, err := newVocabulary()
	if err != nil {
		return nil, err
	}
	env, err := cel.NewCustomEnv(
		cel.StdLib(),
		cel.CustomTypeProvider(words), cel.CustomTypeAdapter(words),
		cel.Variable("identity", identityType),
		cel.Variable("target", targetType),
		cel.Variable("process", processType),
		cel.Variable("flow", flowType),
		cel.Variable("request", requestType),
		cel.Variable("now", types.TimestampType),
		cel.HomogeneousAggregateLiterals(),
		cel.DefaultUTCTimeZone(true),
		cel.ParserRecursionLimit(100),
	)
	if err != nil {
		return nil, fmt.Errorf("make the condition language: %w", err)
	}
	return env, nil
}

// compile checks the condition and makes its programs.
func (c *condition) compile(env *cel.Env) {
	if c.text == "" {
		c.constant, c.traits.timeless = always, true
		return
	}
	checked, issues := env.Compile(c.text)
	if issues.Err() != nil {
		for _, e := range told(issues.Errors()) {
			what, cure := celWords(e.Message)
			c.wrong(e.Location.Line(), e.Location.Column()+1, what, cure)
		}
		return
	}
	if !checked.OutputType().IsExactType(types.BoolType) {
		c.wrong(1, 1, fmt.Sprintf("the condition is a %s", checked.OutputType()), "it must be true or false")
		return
	}
	c.examine(checked.NativeRep())
	c.program(env, checked)
}

func (c *condition) program(env *cel.Env, checked *cel.Ast) {
	var err error
	c.quick, err = env.Program(checked, cel.EvalOptions(cel.OptOptimize))
	if err == nil {
		c.bounded, err = env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
	}
	if err != nil {
		what, cure := celWords(err.Error())
		c.wrong(1, 1, what, cure)
		return
	}
	if c.traits.depth > maxDepth {
		c.wrong(1, 1, "macros nested too deep", "at most four inside one another")
		return
	}
	c.constant = fold(env, checked)
}

// fold finds out whether the condition is the same for every request.
func fold(env *cel.Env, checked *cel.Ast) constant {
	folder, err := cel.NewConstantFoldingOptimizer()
	if err != nil {
		return depends
	}
	optimizer, err := cel.NewStaticOptimizer(folder)
	if err != nil {
		return depends
	}
	folded, issues := optimizer.Optimize(env, checked)
	if issues.Err() != nil || folded.NativeRep().Expr().Kind() != ast.LiteralKind {
		return depends
	}
	if folded.NativeRep().Expr().AsLiteral() == types.True {
		return always
	}
	return never
}

// wrong complains about a spot in the condition. line and column count from 1
// inside the condition's text; what is about the whole of it has none.
func (c *condition) wrong(line, column int, what, cure string) {
	if line < 1 {
		c.src.complain(c.at, "when: "+what, cure)
		return
	}
	c.src.complain(c.spot(line, column), fmt.Sprintf("when: %s, at %d:%d of the condition", what, line, column), cure)
}

// spot is where line:column of the condition stands in the file. In a folded
// or escaped scalar that cannot be told, and the scalar's start is given.
func (c *condition) spot(line, column int) place {
	at := c.at
	switch {
	case c.node.Style == yaml.LiteralStyle:
		at.line += line
		at.column = column
		if i := at.line - 1; i < len(c.src.lines) {
			source := c.src.lines[i]
			at.column += len(source) - len(strings.TrimLeft(source, " "))
			if text := strings.Split(c.text, "\n"); line <= len(text) { // deeper lines keep part of their indent
				at.column -= len(text[line-1]) - len(strings.TrimLeft(text[line-1], " "))
			}
		}
	case line == 1 && c.node.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		at.column += column
	case line == 1 && c.node.Style&yaml.FoldedStyle == 0:
		at.column += column - 1
	}
	return at
}

var variables = []string{"identity", "target", "process", "flow", "request", "now"}
