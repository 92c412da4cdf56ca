package rules

import (
	"errors"
	"time"

	"go.yaml.in/yaml/v3"
)

// grantRule is a grants entry.
type grantRule struct {
	identity, target named
	ttl              time.Duration // 0: for as long as the identity lives
	at               place
}

// Grant is an identity's permission on a target.
type Grant struct {
	Identity, Target string
	Until            time.Time // when the flow it carries must end; zero: never
}

// Why there is no grant.
var (
	ErrUnknownIdentity = errors.New("the policy has no such identity")
	ErrUnknownTarget   = errors.New("the policy has no such target")
	ErrExpired         = errors.New("the identity has expired")
	ErrNoGrant         = errors.New("the identity has no grant on this target")
)

// Grant says whether a flow of identity may go to target at now, and until
// when; otherwise the error is one of the sentinels above.
//
// A grant without approval is given anew to each flow when it opens and ends
// ttl later: a flow that outlives its grant is closed, and the next connection asks
// again. No grant outlives its identity.
func (p *Policy) Grant(identity, target string, now time.Time) (Grant, error) {
	who, ok := p.Identity(identity)
	if !ok {
		return Grant{}, ErrUnknownIdentity
	}
	if _, ok := p.TargetNamed(target); !ok {
		return Grant{}, ErrUnknownTarget
	}
	if who.Expired(now) {
		return Grant{}, ErrExpired
	}
	for _, g := range p.grants {
		if g.identity.string == identity && g.target.string == target {
			return Grant{Identity: identity, Target: target, Until: g.end(now, who.Expires)}, nil
		}
	}
	return Grant{}, ErrNoGrant
}

// end is the earlier of ttl from now and the identity's expiry; zero: never.
func (g grantRule) end(now, expires time.Time) time.Time {
	if g.ttl == 0 {
		return expires
	}
	end := now.Add(g.ttl)
	if !expires.IsZero() && expires.Before(end) {
		return expires
	}
	return end
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
