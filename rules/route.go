package rules

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// route leads from a network and a port to a target.
type route struct {
	prefix netip.Prefix
	port   uint16 // 0: any
	target *Target
	named  bool // found by resolving a name
}

// covers says that the route leads for dst.
func (r route) covers(dst netip.AddrPort) bool {
	return (r.port == 0 || r.port == dst.Port()) && r.prefix.Contains(dst.Addr())
}

// Target finds the target a destination belongs to, the most specific first:
// longest prefix, then a port before any port, then an address that stands in the policy
// before one that a name led to, then the order of the policy.
func (p *Policy) Target(dst netip.AddrPort) (*Target, bool) {
	dst = netip.AddrPortFrom(dst.Addr().Unmap().WithZone(""), dst.Port())
	for _, r := range p.routes {
		if r.covers(dst) {
			return r.target, true
		}
	}
	return nil, false
}

// Hosts lists the host names that targets stand at: what the daemon resolves
// for WithAddresses. Sorted, each once.
func (p *Policy) Hosts() []string {
	var hosts []string
	for _, t := range p.targets {
		for _, a := range t.Addresses {
			if a.Host != "" {
				hosts = append(hosts, a.Host)
			}
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// WithAddresses returns the same policy, of the same generation, that knows
// where host names lead. A name that is not in resolved leads nowhere: its
// flows find no target, and the identity's default decides.
func (p *Policy) WithAddresses(resolved map[string][]netip.Addr) *Policy {
	q := *p
	q.routes = nil
	for _, t := range p.targets {
		for _, a := range t.Addresses {
			q.routes = append(q.routes, a.routes(t, resolved)...)
		}
	}
	slices.SortStableFunc(q.routes, func(a, b route) int {
		return cmp.Or(cmp.Compare(b.prefix.Bits(), a.prefix.Bits()), cmp.Compare(min(b.port, 1), min(a.port, 1)), order(a.named, b.named))
	})
	return &q
}

// order puts false first.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func (a Address) routes(t *Target, resolved map[string][]netip.Addr) []route {
	if a.Host == "" {
		return []route{{a.Prefix, a.Port, t, false}}
	}
	var all []route
	for _, ip := range resolved[strings.ToLower(a.Host)] {
		if ip = ip.Unmap().WithZone(""); ip.IsValid() {
			all = append(all, route{netip.PrefixFrom(ip, ip.BitLen()), a.Port, t, true})
		}
	}
	return all
}
