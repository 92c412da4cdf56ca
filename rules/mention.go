package rules

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// mention is a text that a condition compares a field with, by ==, != or in.
type mention struct {
	object, field, value string
	line, column         int // in the condition, from 1
}

// mention notes the texts in b, if a is a field, and refuses those that the
// field can never be.
func (e *examiner) mention(a, b ast.Expr) {
	if b.Kind() == ast.ListKind {
		for _, element := range b.AsList().Elements() {
			e.mention(a, element)
		}
		return
	}
	value, ok := literal(b)
	if !ok || a.Kind() != ast.SelectKind {
		return
	}
	w, object, ok := e.wordAt(a.AsSelect())
	if !ok {
		return
	}
	at := e.tree.SourceInfo().GetStartLocation(b.ID())
	m := mention{object, w.name, value, at.Line(), at.Column() + 1}
	if object == "HTTP" && w.name == "method" && value != strings.ToUpper(value) {
		e.wrong(m.line, m.column, fmt.Sprintf("no method is %q", clip(value)), fmt.Sprintf("%q", clip(strings.ToUpper(value))))
		return
	}
	if w.values != nil && !slices.Contains(w.values, value) {
		e.wrong(m.line, m.column, fmt.Sprintf("no %s is %q", w.name, clip(value)), DidYouMean(value, w.values))
		return
	}
	e.traits.mentions = append(e.traits.mentions, m)
	if w.name == "action" && value == flow.Unknown {
		e.traits.namesUnknown = true
	}
}

// checkMentions refuses comparisons that hold for nothing the policy has.
func (p *Policy) checkMentions(u *rule) {
	identities, targets, _ := p.names()
	targets = slices.DeleteFunc(targets, func(name string) bool { return !u.concerns(name) })
	for _, m := range u.when.traits.mentions {
		switch m.object + "." + m.field {
		case "Identity.name":
			u.when.expects(m, identities)
		case "Target.name":
			u.when.expects(m, targets)
		case "Target.protocol", "Request.protocol":
			u.when.expects(m, p.spoken(u))
		case "Request.kind":
			u.when.expects(m, kindsOf(p.spoken(u)))
		}
	}
}

func (c *condition) expects(m mention, known []string) {
	if len(known) > 0 && !slices.Contains(known, m.value) {
		c.wrong(m.line, m.column, fmt.Sprintf("no %s here is %q", m.field, clip(m.value)), DidYouMean(m.value, known))
	}
}

// spoken are the protocols of the targets that the rule speaks of; all of
// them while one is not known.
func (p *Policy) spoken(u *rule) []string {
	var all []string
	for _, t := range p.targets {
		if !u.concerns(t.Name) {
			continue
		}
		if t.Protocol == "" {
			return protocols
		}
		all = append(all, t.Protocol)
	}
	return all
}

// kindsOf are the kinds of request that the protocols know.
func kindsOf(protocols []string) []string {
	var all []string
	for _, p := range protocols {
		switch p {
		case "postgres":
			all = append(all, flow.KindQuery, flow.KindFunctionCall, flow.KindReplication)
		case "http":
			all = append(all, flow.KindHTTP)
		case "tcp":
			all = append(all, flow.KindConnect)
		}
	}
	return all
}

// checkObjects refuses a rule that can be walked around by writing a name with
// its schema, or without: e.object is as the statement has it. An allow may be narrow.
func (p *Policy) checkObjects(u *rule) {
	var names []string
	for _, m := range u.when.traits.mentions {
		if m.object == "Effect" && m.field == "object" && m.value != "" {
			names = append(names, m.value)
		}
	}
	for _, m := range u.when.traits.mentions {
		same := func(other string) bool { return other != m.value && lastPart(other) == lastPart(m.value) }
		if u.verdict != flow.Allow && slices.Contains(names, m.value) && m.field == "object" && !slices.ContainsFunc(names, same) {
			u.when.wrong(m.line, m.column, fmt.Sprintf("object %q can also be written with another schema or none", clip(m.value)),
				fmt.Sprintf("e.name == %q, or both spellings", clip(lastPart(m.value))))
		}
	}
}
