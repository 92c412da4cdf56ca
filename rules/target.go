package rules

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Target is a named upstream.
type Target struct {
	Name      string
	Protocol  string // postgres http tcp
	Addresses []Address
	Record    RecordLevel
	TLS       TLS

	at place
}

// TLS says how the two legs of a target's connections are protected.
type TLS struct {
	Upstream string // disable, prefer, require, verify-ca, verify-full; "" is prefer
	CA       string // path of a PEM bundle for verify-*
	Name     string // server name to verify; "" is the address
	Client   string // clear (the loopback leg carries no TLS) or terminate; "" is clear
}

// RecordLevel says how much of a session goes on tape.
type RecordLevel uint8

// The record levels.
const (
	RecordFull       RecordLevel = iota // statements, parameters, results after masks
	RecordResults                       // statements and results, no parameters
	RecordStatements                    // statements and outcomes only
)

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
	if !r.has(n, "addresses") || r.empty(n, "addresses") {
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
		r.checkCA(n, into.CA)
		verifies := strings.HasPrefix(into.Upstream, "verify-")
		if into.CA != "" && !verifies {
			r.wrong(n, "tls ca without verification has no effect", "upstream: verify-full")
		}
		if into.Name != "" && into.Upstream != "verify-full" {
			r.wrong(n, "tls name without verify-full has no effect", "upstream: verify-full")
		}
	}
}

// checkCA refuses a bundle that no connection could be verified with.
func (r *reader) checkCA(n *yaml.Node, ca string) {
	if ca == "" || r.certificates == nil {
		return
	}
	if err := r.certificates(ca); err != nil {
		r.wrong(child(n, "ca"), fmt.Sprintf("tls ca: %v", err), "a file of PEM certificates")
	}
}

// String is the level's name in a policy.
func (l RecordLevel) String() string {
	switch l {
	case RecordFull:
		return "full"
	case RecordResults:
		return "results"
	}
	return "statements"
}
