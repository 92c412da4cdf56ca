package rules

import (
	"fmt"
	"strings"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Explanation tells which rule and masks a request meets, and why.
type Explanation struct {
	Identity  string        `json:"identity"`
	Target    string        `json:"target"`
	Grant     string        `json:"grant"` // "granted", or why not
	Until     time.Time     `json:"until,omitzero"`
	Verdict   flow.Verdict  `json:"verdict"`
	Rule      string        `json:"rule,omitempty"` // empty: the default
	Message   string        `json:"message,omitempty"`
	Approvers []string      `json:"approvers,omitempty"`
	Effects   []flow.Effect `json:"effects,omitempty"`
	Rules     []Considered  `json:"rules,omitempty"` // those of the target, in order
	Masks     []MaskSummary `json:"masks,omitempty"`
}

// Considered is one rule and what its condition came to.
type Considered struct {
	Rule    string       `json:"rule"`
	Place   string       `json:"place"` // file:line
	Verdict flow.Verdict `json:"verdict"`
	When    string       `json:"when,omitempty"`
	Outcome Outcome      `json:"outcome"`
}

// Outcome is what a condition came to.
type Outcome string

// The outcomes.
const (
	Matched   Outcome = "matches"
	Passed    Outcome = "does not match"
	Perhaps   Outcome = "may match: what the request does is not fully known"
	Failed    Outcome = "could not be evaluated"
	Unmeant   Outcome = "matches, but does not name request.kind"
	Unreached Outcome = "not reached"
)

// MaskSummary is one mask that applies.
type MaskSummary struct {
	Mask    string   `json:"mask"`
	With    string   `json:"with"`
	Columns []string `json:"columns,omitempty"`
	Headers []string `json:"headers,omitempty"`
	JSON    []string `json:"json,omitempty"`
	Detect  []string `json:"detect,omitempty"`
}

// Explain decides in and tells how. A request without grant is denied before
// any rule is asked; the rules are listed all the same.
func (p *Policy) Explain(in Input) Explanation {
	var e Explanation
	outcomes := map[*rule]Outcome{}
	d := p.consider(&in, func(u *rule, t truth) { outcomes[u] = u.outcome(t, in.Request.Kind) })
	if in.Identity == nil || in.Target == nil || in.Request == nil {
		return Explanation{Verdict: d.Verdict, Message: d.Message}
	}
	e = Explanation{Identity: in.Identity.Name, Target: in.Target.Name, Grant: "granted", Effects: in.Request.Effects,
		Verdict: d.Verdict, Rule: d.Rule, Message: d.Message, Approvers: d.Approvers}
	for _, u := range p.byTarget[in.Target.Name] {
		c := Considered{u.name, fmt.Sprintf("%s:%d", u.at.file, u.at.line), u.verdict, strings.TrimSpace(u.when.text), Unreached}
		if o, ok := outcomes[u]; ok {
			c.Outcome = o
		}
		e.Rules = append(e.Rules, c)
	}
	e.Masks = p.summaries(e.Identity, e.Target)
	grant, err := p.Grant(e.Identity, e.Target, in.Now)
	if err != nil {
		e.Grant, e.Verdict, e.Rule, e.Message, e.Approvers = err.Error(), flow.Deny, "", err.Error(), nil
		return e
	}
	e.Until = grant.Until
	return e
}

func (u *rule) outcome(t truth, kind string) Outcome {
	switch {
	case t == no:
		return Passed
	case t == broken:
		return Failed
	case !u.means(kind):
		return Unmeant
	case t == maybe:
		return Perhaps
	}
	return Matched
}

// summaries lists the masks that apply, in the policy's words.
func (p *Policy) summaries(identity, target string) []MaskSummary {
	var all []MaskSummary
	for i := range p.masks {
		m := &p.masks[i]
		if !m.concerns(identity, target) {
			continue
		}
		s := MaskSummary{Mask: m.name, With: string(m.with), Headers: m.headers, Detect: m.detect.Names()}
		for _, c := range m.columns {
			s.Columns = append(s.Columns, c.String())
		}
		for _, path := range m.json {
			s.JSON = append(s.JSON, PathString(path))
		}
		all = append(all, s)
	}
	return all
}

// String writes the column as a policy would: without the schema when it is any.
func (c columnMask) String() string {
	parts := []string{c.table, c.column}
	if c.schema != anyName {
		parts = append([]string{c.schema}, parts...)
	}
	for i, part := range parts {
		switch {
		case part == anyName:
			parts[i] = "*"
		case strings.ContainsAny(part, "*.") || strings.ToLower(part) != part:
			parts[i] = `"` + part + `"`
		}
	}
	return strings.Join(parts, ".")
}
