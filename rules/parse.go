package rules

import (
	"fmt"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
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
	// Certificates says what is wrong with the bundle that a target's tls.ca names; nil: it is not looked at.
	Certificates func(path string) error
}

// String tells the generation; the key is no part of it.
func (o Options) String() string { return fmt.Sprintf("options of generation %d", o.Generation) }

// GoString is String.
func (o Options) GoString() string { return o.String() }

// IsFixture says that a file beside a policy holds its tests, not policy.
func IsFixture(name string) bool {
	return strings.HasSuffix(name, ".test.yaml") || strings.HasSuffix(name, ".test.yml")
}

// nameOf is what a complaint about the whole policy names: its last file.
func nameOf(files []File) string {
	if len(files) == 0 {
		return "policy"
	}
	return files[len(files)-1].Name
}

// Parse reads the files as one policy. The error, if any, is Complaints: all of
// them. It compiles conditions, so it takes about a millisecond per rule.
func Parse(files []File, options Options) (*Policy, error) {
	p := &Policy{generation: options.Generation, key: options.Key, masked: &sync.Map{}}
	l := &ledger{}
	for _, f := range files {
		r := &reader{ledger: l, file: f.Name, certificates: options.Certificates}
		if root := r.document(f.Data); root != nil {
			p.read(r, root)
		}
	}
	p.check(l)
	if len(p.identities) == 0 && len(l.list) == 0 {
		l.complain(place{file: nameOf(files)}, "a policy without identities lets nobody through", "declare one; an identity whose expires is past is kept out")
	}
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
