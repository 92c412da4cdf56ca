package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// checkTwins refuses what stands twice: grants, and identities that select the very
// same. Where selectors only overlap, the first identity in the policy counts.
func (p *Policy) checkTwins(l *ledger) {
	grants := map[[2]string]place{}
	for _, g := range p.grants {
		key := [2]string{g.identity.string, g.target.string}
		first, twice := grants[key]
		if !twice {
			grants[key] = g.at
			continue
		}
		if key[0] != "" && key[1] != "" {
			l.complain(g.at, fmt.Sprintf("a second grant of %q on %q", clip(key[0]), clip(key[1])), fmt.Sprintf("the first is at %s:%d", first.file, first.line))
		}
	}
	selectors := map[Match]string{}
	for _, i := range p.identities {
		for _, m := range i.Match {
			if other, twice := selectors[m]; twice && other != i.Name && m != (Match{}) {
				l.complain(i.at, fmt.Sprintf("identity %q selects what identity %q selects already", i.Name, other), "a process has one identity")
				continue
			}
			selectors[m] = i.Name
		}
	}
}

// checkBusiness refuses rules and masks that concern nobody: no identity has a grant on
// their targets, or all that have one are excepted.
func (p *Policy) checkBusiness(l *ledger) {
	for _, u := range p.rules {
		if p.declared(u.target.string) && len(p.clients(u.target.string)) == 0 {
			l.complain(u.target.at, fmt.Sprintf("rule %q can never fire: no identity has a grant on its target", u.name), "grant one, or remove the rule")
		}
	}
	for i := range p.masks {
		m := &p.masks[i]
		clients := p.clients(m.target.string)
		excepted := func(name string) bool { return !m.concerns(name, m.target.string) }
		switch {
		case !p.declared(m.target.string):
		case len(clients) == 0:
			l.complain(m.target.at, fmt.Sprintf("mask %q can never hide anything: no identity has a grant on its target", m.name), "grant one, or remove the mask")
		case len(m.except) > 0 && !slices.ContainsFunc(clients, func(name string) bool { return !excepted(name) }):
			l.complain(m.except[0].at, fmt.Sprintf("mask %q can never hide anything: every identity with a grant on its target is excepted", m.name), "leave one out of except")
		}
	}
}

// declared says that the policy has the target, or any for "*".
func (p *Policy) declared(target string) bool {
	return target == "*" && len(p.targets) > 0 || slices.ContainsFunc(p.targets, func(t *Target) bool { return t.Name != "" && t.Name == target })
}

// clients are the identities that have a grant on target.
func (p *Policy) clients(target string) []string {
	var all []string
	for _, g := range p.grants {
		if target == "*" || g.target.string == target {
			all = append(all, g.identity.string)
		}
	}
	return all
}

// echo finds the rule that speaks instead of rule i wherever that would: it has the same
// condition and forbids. One that allows says nothing where the condition only
// may hold, and leaves that to a later rule.
func (p *Policy) echo(i int) *rule {
	u := p.rules[i]
	text := strings.Join(strings.Fields(u.when.text), " ")
	if text == "" {
		return nil
	}
	k := slices.IndexFunc(p.rules[:i], func(earlier *rule) bool {
		covers := earlier.target.string == "*" || earlier.target.string == u.target.string
		forbids := earlier.verdict == flow.Hold || earlier.verdict == flow.Deny
		return covers && forbids && strings.Join(strings.Fields(earlier.when.text), " ") == text
	})
	if k < 0 {
		return nil
	}
	return p.rules[k]
}
