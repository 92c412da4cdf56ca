package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules/detect"
)

// Result is what one case of a fixture came to.
type Result struct {
	Name        string      `json:"name"`
	Place       string      `json:"place"` // file:line
	Wrong       []string    `json:"wrong"` // empty: it passed
	Explanation Explanation `json:"explanation"`
}

// Passed says that the policy did what the case expects.
func (r Result) Passed() bool { return len(r.Wrong) == 0 }

// Effects reads what a statement does; it is given by who can read SQL.
type Effects func(text string) ([]flow.Effect, error)

// Test runs the fixture's cases against the policy. effects is asked for queries
// that give a text and no effects; when it is nil or fails, the effect is unknown.
func Test(p *Policy, f *Fixture, effects Effects, now time.Time) []Result {
	results := make([]Result, 0, len(f.Cases))
	for _, c := range f.Cases {
		results = append(results, p.try(c, effects, now))
	}
	return results
}

func (p *Policy) try(c Case, effects Effects, now time.Time) Result {
	r := Result{Name: c.Name, Place: fmt.Sprintf("%s:%d", c.File, c.Line)}
	id, known := p.Identity(c.Identity)
	target, found := p.TargetNamed(c.Target)
	if !known || !found {
		r.Wrong = append(r.Wrong, fmt.Sprintf("the policy has no identity %q or no target %q", c.Identity, c.Target))
		return r
	}
	if c.Now.IsZero() {
		c.Now = now
	}
	c.Request.Protocol = target.Protocol
	if c.Request.Kind == flow.KindQuery && c.Request.Effects == nil {
		c.Request.Effects = read(c.Request.Text, effects)
	}
	f := flow.Flow{Identity: c.Identity, Target: c.Target, Process: c.Process, Protocol: target.Protocol, Seen: flow.Inspected, Opened: c.Now}
	r.Explanation = p.Explain(Input{Identity: &id, Target: target, Flow: &f, Request: &c.Request, Now: c.Now})
	r.Wrong = append(c.Expect.missed(r.Explanation), c.Expect.uncovered(p.Masks(c.Identity, c.Target))...)
	return r
}

func read(text string, effects Effects) []flow.Effect {
	if effects != nil {
		if list, err := effects(text); err == nil {
			return list
		}
	}
	return []flow.Effect{{Action: flow.Unknown}}
}

// missed compares the decision with what was expected.
func (e Expectation) missed(got Explanation) []string {
	var wrong []string
	if e.Verdict != "" && got.Verdict != e.Verdict {
		wrong = append(wrong, fmt.Sprintf("verdict is %s, expected %s", got.Verdict, e.Verdict))
	}
	if e.Rule != nil && got.Rule != *e.Rule {
		wrong = append(wrong, fmt.Sprintf("rule is %q, expected %q", got.Rule, *e.Rule))
	}
	if e.Approvers != nil && !slices.Equal(got.Approvers, e.Approvers) {
		wrong = append(wrong, fmt.Sprintf("approvers are %v, expected %v", got.Approvers, e.Approvers))
	}
	return wrong
}

// uncovered compares what is masked with what was expected.
func (e Expectation) uncovered(m *Masks) []string {
	var wrong []string
	for _, name := range e.Masked {
		if !m.hides(name) {
			wrong = append(wrong, name+" is not masked")
		}
	}
	for _, name := range e.Clear {
		if m.hides(name) {
			wrong = append(wrong, name+" is masked")
		}
	}
	return wrong
}

// part is a column, header, JSON path or detector that a fixture names.
type part struct {
	column   []string // schema, table, column
	header   string
	path     []string
	detector detect.Set
}

func parsePart(s string) (part, error) {
	kind, rest, ok := strings.Cut(s, ":")
	if !ok {
		column, err := columnParts(s)
		if err == nil && (len(column) != 3 || slices.Contains(column, anyName)) {
			err = fmt.Errorf("a column in a test is schema.table.column")
		}
		return part{column: column}, err
	}
	switch kind {
	case "header":
		return part{header: strings.ToLower(rest)}, nil
	case "json":
		path, err := ParsePath(rest)
		return part{path: path}, err
	case "detect":
		d, found := detect.Named(rest)
		if !found {
			return part{}, fmt.Errorf("unknown detector")
		}
		return part{detector: d}, nil
	}
	return part{}, fmt.Errorf("not a part that can be masked")
}

// hides says that the part a fixture names is masked.
func (m *Masks) hides(name string) bool {
	p, err := parsePart(name)
	if err != nil {
		return false
	}
	switch {
	case p.column != nil:
		_, ok := m.Column(p.column[0], p.column[1], p.column[2])
		return ok
	case p.header != "":
		_, ok := m.Header(p.header)
		return ok
	case p.path != nil:
		return slices.ContainsFunc(m.json, func(j JSONMask) bool { return j.Covers(p.path) })
	}
	return m.detectors&p.detector != 0
}
