package rules

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// File is one policy file.
type File struct {
	Name string // as complaints show it
	Data []byte
}

// Options is what a policy needs besides its files.
type Options struct {
	// Generation is what Policy.Generation returns; the daemon counts its loads.
	Generation uint64
	// Key is the host's masking secret, at least 16 bytes. Without it a mask that
	// needs a key (hash, token, shift) is a complaint.
	Key []byte
}

// IsFixture says that a file beside a policy holds its tests, not policy.
func IsFixture(name string) bool {
	return strings.HasSuffix(name, ".test.yaml") || strings.HasSuffix(name, ".test.yml")
}

// Parse reads the files as one policy. The error, if any, is Complaints: all of
// them. It compiles conditions, so it takes about a millisecond per rule.
func Parse(files []File, options Options) (*Policy, error) {
	p := &Policy{generation: options.Generation, key: options.Key}
	l := &ledger{}
	for _, f := range files {
		r := &reader{ledger: l, file: f.Name}
		if root := r.document(f.Data); root != nil {
			p.read(r, root)
		}
	}
	p.check(l)
	if err := l.verdict(); err != nil {
		return nil, err
	}
	p.index()
	return p.WithAddresses(nil), nil
}

// read adds what stands in one file.
func (p *Policy) read(r *reader, root *yaml.Node) {
	r.mapping(root, "the policy",
		field{"identities", r.each("identities", func(n *yaml.Node) { p.readIdentity(r, n) })},
		field{"targets", r.each("targets", func(n *yaml.Node) { p.readTarget(r, n) })},
		field{"grants", r.each("grants", func(n *yaml.Node) { p.readGrant(r, n) })},
		field{"rules", r.each("rules", func(n *yaml.Node) { p.readRule(r, n) })},
		field{"masks", r.each("masks", func(n *yaml.Node) { p.readMask(r, n) })},
		field{"people", r.each("people", func(n *yaml.Node) { p.readPerson(r, n) })},
	)
}

func (p *Policy) readIdentity(r *reader, n *yaml.Node) {
	var name named
	fallback, failure := string(DefaultDeny), ""
	id := Identity{at: r.at(n)}
	r.mapping(n, "an identity",
		field{"name", r.name(&name)},
		field{"owner", r.text(&id.Owner)},
		field{"purpose", r.text(&id.Purpose)},
		field{"labels", r.labels(&id.Labels)},
		field{"expires", r.day(&id.Expires)},
		field{"match", r.each("match", func(n *yaml.Node) { id.Match = append(id.Match, r.match(n)) })},
		field{"default", r.word(&fallback, "default", string(DefaultDeny), string(DefaultObserve), string(DefaultAllow))},
		field{"on_failure", func(n *yaml.Node) {
			if n.Value == "open" {
				r.refused(noOpen)(n)
				return
			}
			r.word(&failure, "on_failure", "closed")(n)
		}},
	)
	id.Name, id.Default = name.string, Default(fallback)
	r.needs(n, "an identity", "name", id.Name)
	p.identities = append(p.identities, id)
}

func (r *reader) match(n *yaml.Node) Match {
	var m Match
	r.mapping(n, "a match",
		field{"unit", r.glob(&m.Unit)},
		field{"cgroup", r.glob(&m.Cgroup)},
		field{"container", r.refused(noContainer)},
		field{"pod", r.refused(noPod)},
	)
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		r.wrong(n, "a match that names nothing selects nothing", "give unit or cgroup")
	}
	if m.Cgroup != "" && m.Cgroup[0] != '/' {
		r.wrong(n, "a cgroup pattern does not start with /", "such as /system.slice/billing.service")
	}
	return m
}

func (p *Policy) readTarget(r *reader, n *yaml.Node) {
	var name named
	level := "full"
	t := &Target{at: r.at(n)}
	r.mapping(n, "a target",
		field{"name", r.name(&name)},
		field{"protocol", r.protocol(&t.Protocol)},
		field{"addresses", r.each("addresses", func(n *yaml.Node) { r.address(t, n) })},
		field{"tls", r.tls(&t.TLS)},
		field{"record", r.word(&level, "record", "full", "results", "statements")},
		field{"credential", r.refused(noCredential)},
	)
	t.Name = name.string
	t.Record = map[string]RecordLevel{"full": RecordFull, "results": RecordResults, "statements": RecordStatements}[level]
	r.needs(n, "a target", "name", t.Name)
	if t.Protocol == "" && !r.has(n, "protocol") {
		r.wrong(n, "a target without protocol", "one of: "+strings.Join(protocols, ", "))
	}
	if !r.has(n, "addresses") {
		r.wrong(n, "a target without addresses is never reached", `such as addresses: ["db.internal:5432"]`)
	}
	p.targets = append(p.targets, t)
}

func (r *reader) protocol(into *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		for _, later := range laterProtocols {
			if n.Value == later {
				r.wrong(n, fmt.Sprintf("protocol %q is not supported yet", later), "tcp carries it without looking inside")
				return
			}
		}
		r.word(into, "protocol", protocols...)(n)
	}
}

func (r *reader) address(t *Target, n *yaml.Node) {
	var s string
	r.text(&s)(n)
	if strings.HasPrefix(s, "unix:") {
		r.refused(noUnix)(n)
		return
	}
	a, err := parseAddress(s)
	if err != nil {
		r.wrong(n, fmt.Sprintf("address %q: %v", clip(s), err), `such as "db.internal:5432", "10.0.0.0/24:5432", "[fd00::1]:*"`)
		return
	}
	t.Addresses = append(t.Addresses, a)
}

func (r *reader) tls(into *TLS) func(*yaml.Node) {
	return func(n *yaml.Node) {
		r.mapping(n, "tls",
			field{"upstream", r.word(&into.Upstream, "tls upstream", "disable", "prefer", "require", "verify-ca", "verify-full")},
			field{"ca", r.text(&into.CA)},
			field{"name", r.text(&into.Name)},
			field{"client", r.word(&into.Client, "tls client", "clear", "terminate")},
		)
		verifies := strings.HasPrefix(into.Upstream, "verify-")
		if into.CA != "" && !verifies {
			r.wrong(n, "tls ca without verification has no effect", "upstream: verify-full")
		}
		if into.Name != "" && into.Upstream != "verify-full" {
			r.wrong(n, "tls name without verify-full has no effect", "upstream: verify-full")
		}
	}
}

func (p *Policy) readGrant(r *reader, n *yaml.Node) {
	g := grantRule{at: r.at(n)}
	approval := ""
	r.mapping(n, "a grant",
		field{"identity", r.name(&g.identity)},
		field{"target", r.name(&g.target)},
		field{"ttl", r.span(&g.ttl)},
		field{"approval", func(n *yaml.Node) {
			if n.Kind == yaml.MappingNode {
				r.refused(noGrantAsk)(n)
				return
			}
			r.word(&approval, "approval", "none")(n)
		}},
	)
	r.needs(n, "a grant", "identity", g.identity.string)
	r.needs(n, "a grant", "target", g.target.string)
	p.grants = append(p.grants, g)
}

func (p *Policy) readPerson(r *reader, n *yaml.Node) {
	var name named
	var members []named
	who := Person{at: r.at(n)}
	r.mapping(n, "people",
		field{"name", r.name(&name)},
		field{"members", r.texts(&members)},
		field{"notify", r.refused(noNotify)},
	)
	who.Name = name.string
	for _, m := range members {
		who.Members = append(who.Members, m.string)
	}
	r.needs(n, "people", "name", who.Name)
	if len(members) == 0 {
		r.wrong(n, "people without members can answer nothing", "members: [alice]")
	}
	p.people = append(p.people, who)
}

func (p *Policy) readRule(r *reader, n *yaml.Node) {
	u := &rule{at: r.at(n), timeout: defaultTimeout}
	var name named
	verdict, durability := "", ""
	r.mapping(n, "a rule",
		field{"name", r.name(&name)},
		field{"target", r.name(&u.target)},
		field{"when", r.condition(&u.when)},
		field{"verdict", r.word(&verdict, "verdict", verdicts...)},
		field{"approvers", r.texts(&u.approvers)},
		field{"timeout", r.span(&u.timeout)},
		field{"message", r.text(&u.message)},
		field{"durability", r.word(&durability, "durability", "process", "disk")},
	)
	u.name, u.verdict, u.durable = name.string, flow.Verdict(verdict), durability == "disk"
	r.needs(n, "a rule", "name", u.name)
	r.needs(n, "a rule", "target", u.target.string)
	if !r.has(n, "verdict") {
		r.wrong(n, "a rule without verdict", "one of: "+strings.Join(verdicts, ", "))
	}
	r.fits(n, u)
	p.rules = append(p.rules, u)
}

var verdicts = []string{string(flow.Allow), string(flow.Warn), string(flow.Hold), string(flow.Deny)}

const (
	defaultTimeout = 10 * time.Minute // of a hold
	maxTimeout     = 24 * time.Hour
)

// fits refuses fields that do nothing for the rule's verdict, and a hold
// that nobody can answer.
func (r *reader) fits(n *yaml.Node, u *rule) {
	if u.verdict == flow.Hold {
		if len(u.approvers) == 0 {
			r.wrong(n, "a hold without approvers can only time out", "approvers: [..], or verdict: deny")
		}
		if u.timeout > maxTimeout {
			r.wrong(n, "a hold longer than 24h", "a client does not wait that long")
		}
		return
	}
	for _, only := range []string{"approvers", "timeout"} {
		if r.has(n, only) && u.verdict != "" {
			r.wrong(n, fmt.Sprintf("%s has no effect on verdict %s", only, u.verdict), "verdict: hold, or leave it out")
		}
	}
	if u.verdict == flow.Allow && u.message != "" {
		r.wrong(n, "message has no effect on verdict allow", "verdict: warn, or leave it out")
	}
}

// has says that the mapping n has the key.
func (r *reader) has(n *yaml.Node, key string) bool {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return true
		}
	}
	return false
}

// needs refuses a mapping without a field; a field that is there and wrong has
// been complained of already.
func (r *reader) needs(n *yaml.Node, what, key, value string) {
	if n.Kind == yaml.MappingNode && value == "" && !r.has(n, key) {
		r.wrong(n, what+" without "+key, "")
	}
}

// glob reads a pattern with * and ?, and ** in paths.
func (r *reader) glob(into *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		r.text(into)(n)
		bad := strings.Count(*into, "**") > maxStars
		for _, step := range steps(*into) {
			bad = bad || step == ".." || step == "." || !globWhole(step)
		}
		if bad || *into == "" {
			r.wrong(n, fmt.Sprintf("%q is not a pattern", clip(*into)), "* and ? within a step, ** for any steps, at most three times")
		}
	}
}
