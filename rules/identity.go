package rules

import (
	"go.yaml.in/yaml/v3"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Identity is an identity with the part of the policy that only the daemon needs.
type Identity struct {
	flow.Identity
	Match   []Match // any one selects; none: only explicit enrollment
	Default Default

	at place
}

// Default says what becomes of an identity's flows to where no target is.
type Default string

// The defaults.
const (
	DefaultDeny    Default = "deny"    // refused; what is meant when nothing is said
	DefaultObserve Default = "observe" // passed on and recorded as bytes and counts
	DefaultAllow   Default = "allow"   // passed on
)

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
