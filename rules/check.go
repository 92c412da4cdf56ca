package rules

import (
	"fmt"
	"slices"
	"strings"
)

// check looks at the policy as a whole: names, references, and rules that can
// never fire.
func (p *Policy) check(l *ledger) {
	p.checkNames(l)
	p.checkReferences(l)
	p.checkAddresses(l)
	p.checkConditions(l)
	p.checkRules(l)
	p.checkMasks(l)
	p.checkTwins(l)
	p.checkBusiness(l)
}

func (p *Policy) checkNames(l *ledger) {
	identities, targets, people := unique{l, "identity"}, unique{l, "target"}, unique{l, "person"}
	rules, masks := unique{l, "rule"}, unique{l, "mask"}
	seen := map[string]place{}
	for _, i := range p.identities {
		identities.add(seen, i.Name, i.at)
	}
	for _, t := range p.targets {
		targets.add(seen, t.Name, t.at)
	}
	for _, w := range p.people {
		people.add(seen, w.Name, w.at)
	}
	for _, u := range p.rules {
		rules.add(seen, u.name, u.at)
	}
	for _, m := range p.masks {
		masks.add(seen, m.name, m.at)
	}
}

// unique refuses a second thing of one kind and name.
type unique struct {
	*ledger
	kind string
}

func (u unique) add(seen map[string]place, name string, at place) {
	if name == "" {
		return
	}
	if name == "*" {
		u.complain(at, fmt.Sprintf("* names every %s, and is no name of one", u.kind), "")
		return
	}
	key := u.kind + "\x00" + name
	if first, twice := seen[key]; twice {
		u.complain(at, fmt.Sprintf("a second %s named %q", u.kind, name), fmt.Sprintf("the first is at %s:%d", first.file, first.line))
		return
	}
	seen[key] = at
}

func (p *Policy) checkReferences(l *ledger) {
	identities, targets, people := p.names()
	for _, g := range p.grants {
		l.known(g.identity, "identity", identities, false)
		l.known(g.target, "target", targets, false)
	}
	for _, u := range p.rules {
		l.known(u.target, "target", targets, true)
		for _, a := range u.approvers {
			l.known(a, "person", people, false)
		}
	}
	for _, m := range p.masks {
		l.known(m.target, "target", targets, true)
		for _, e := range m.except {
			l.known(e, "identity", identities, false)
		}
	}
}

// names lists what can be referred to; what has no name has been complained of.
func (p *Policy) names() (identities, targets, people []string) {
	add := func(to *[]string, name string) {
		if name != "" {
			*to = append(*to, name)
		}
	}
	for _, i := range p.identities {
		add(&identities, i.Name)
	}
	for _, t := range p.targets {
		add(&targets, t.Name)
	}
	for _, w := range p.people {
		add(&people, w.Name)
	}
	return identities, targets, people
}

// known refuses a name that nothing has.
func (l *ledger) known(n named, kind string, names []string, star bool) {
	if n.string == "" || star && n.string == "*" || slices.Contains(names, n.string) {
		return
	}
	cure := DidYouMean(n.string, names)
	if cure == "" {
		cure = "none is declared"
	}
	l.complain(n.at, fmt.Sprintf("no %s is named %q", kind, clip(n.string)), cure)
}

// checkAddresses refuses two targets at exactly the same place.
func (p *Policy) checkAddresses(l *ledger) {
	seen := map[Address]string{}
	for _, t := range p.targets {
		for _, a := range t.Addresses {
			if other, twice := seen[a]; twice {
				l.complain(t.at, fmt.Sprintf("address %s stands in target %q already", a, other), "one address leads to one target")
				continue
			}
			seen[a] = t.Name
		}
	}
}

func (p *Policy) checkConditions(l *ledger) {
	env, err := language()
	if err != nil {
		l.complain(place{}, err.Error(), "")
		return
	}
	for _, u := range p.rules {
		u.when.compile(env)
		if u.when.constant == never {
			l.complain(u.when.at, fmt.Sprintf("rule %q can never fire: its condition is always false", u.name), "remove the rule")
		}
	}
}

// checkRules refuses what stands behind an unconditional rule, and conditions
// on what their targets do not have.
func (p *Policy) checkRules(l *ledger) {
	for i, u := range p.rules {
		if earlier := p.shadow(i); earlier != nil {
			l.complain(u.at, fmt.Sprintf("rule %q can never fire: rule %q before it always matches", u.name, earlier.name), "put it before, or remove it")
		}
		if earlier := p.echo(i); earlier != nil {
			l.complain(u.when.at, fmt.Sprintf("rule %q can never fire: rule %q before it has the same condition", u.name, earlier.name), "remove one, or change its condition")
		}
		p.checkLabels(l, u)
		p.checkMentions(u)
		p.checkObjects(u)
		if u.when.traits.readsEffects && !slices.Contains(p.spoken(u), "postgres") && len(p.spoken(u)) > 0 {
			l.complain(u.when.at, fmt.Sprintf("rule %q: request.effects is always empty on its targets, which are not postgres", u.name), "request.http, request.text or request.kind")
		}
		if u.when.traits.readsHTTP && !u.when.traits.asksHTTP {
			p.checkHTTP(l, u)
		}
	}
}

// shadow finds the rule behind which rule i never speaks: on each of its targets
// an earlier one always matches. Nil: there is a target where it may speak.
func (p *Policy) shadow(i int) *rule {
	var found *rule
	for _, t := range p.targets {
		if !p.rules[i].concerns(t.Name) {
			continue
		}
		k := slices.IndexFunc(p.rules[:i], func(u *rule) bool {
			return u.concerns(t.Name) && u.when.constant == always && u.final(p.rules[i])
		})
		if k < 0 {
			return nil
		}
		found = p.rules[k]
	}
	return found
}

// final says that where u, unconditional, has spoken, later says nothing: u
// opens what is closed by default only if it names it, so a later rule that does may still.
func (u *rule) final(later *rule) bool {
	return u.means("") || !later.when.traits.namesKind
}

func (p *Policy) checkHTTP(l *ledger, u *rule) {
	for _, t := range p.targets {
		if u.concerns(t.Name) && t.Protocol != "http" && t.Protocol != "" {
			l.complain(u.when.at, fmt.Sprintf("rule %q looks at request.http, which target %q (%s) does not have", u.name, t.Name, t.Protocol),
				"has(request.http) && ...")
			return
		}
	}
}

// checkLabels refuses a condition that reads a label which an identity with a
// grant on its target does not have: it would fail on each of its requests.
func (p *Policy) checkLabels(l *ledger, u *rule) {
	for _, key := range u.when.traits.labelsRead {
		if slices.Contains(u.when.traits.labelsAsked, key) {
			continue
		}
		for _, i := range p.identities {
			if _, ok := i.Labels[key]; !ok && p.granted(i.Name, u) {
				l.complain(u.when.at, fmt.Sprintf("rule %q reads label %q, which identity %q does not have", u.name, clip(key), i.Name),
					fmt.Sprintf("%q in identity.labels && ...", clip(key)))
				break
			}
		}
	}
}

func (p *Policy) granted(identity string, u *rule) bool {
	return slices.ContainsFunc(p.grants, func(g grantRule) bool {
		return g.identity.string == identity && u.concerns(g.target.string)
	})
}

// checkMasks refuses masks on what their targets do not carry.
func (p *Policy) checkMasks(l *ledger) {
	for i := range p.masks {
		m := &p.masks[i]
		if len(m.columns) > 0 {
			p.checkMaskOn(l, m, "columns", "postgres")
		}
		if len(m.headers) > 0 {
			p.checkMaskOn(l, m, "headers", "http")
		}
		if len(m.json) > 0 {
			p.checkMaskOn(l, m, "json", "http")
		}
		if m.detect != 0 {
			p.checkMaskOn(l, m, "detect", "postgres", "http")
		}
	}
}

func (p *Policy) checkMaskOn(l *ledger, m *maskRule, what string, protocols ...string) {
	for _, t := range p.targets {
		if (m.target.string == "*" || m.target.string == t.Name) && (t.Protocol == "" || slices.Contains(protocols, t.Protocol)) {
			return
		}
	}
	if _, ok := p.TargetNamed(m.target.string); ok || m.target.string == "*" {
		l.complain(m.at, fmt.Sprintf("mask %q can never hide anything: %s are not found on its targets", m.name, what),
			"name a target whose protocol is "+strings.Join(protocols, " or "))
	}
}

// index prepares the lists that are asked per request.
func (p *Policy) index() {
	p.byTarget, p.byGrant = map[string][]*rule{}, map[[2]string]bool{}
	for _, g := range p.grants {
		p.byGrant[[2]string{g.identity.string, g.target.string}] = true
	}
	for _, t := range p.targets {
		p.byTarget[t.Name] = nil
		for _, u := range p.rules {
			if u.concerns(t.Name) {
				p.byTarget[t.Name] = append(p.byTarget[t.Name], u)
			}
		}
	}
}
