package rules

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/chaperone-dev/chaperone/rules/detect"
	"github.com/chaperone-dev/chaperone/rules/mask"
)

// maskRule is a masks entry.
type maskRule struct {
	name    string
	target  named // "*": every target
	columns []columnMask
	headers []string
	json    [][]string
	detect  detect.Set
	with    mask.Operator
	except  []named
	at      place
}

func (p *Policy) readMask(r *reader, n *yaml.Node) {
	m := maskRule{at: r.at(n), with: mask.Redact}
	var name named
	r.mapping(n, "a mask",
		field{"name", r.name(&name)},
		field{"target", r.name(&m.target)},
		field{"columns", r.each("columns", func(n *yaml.Node) { r.column(&m, n) })},
		field{"headers", r.each("headers", func(n *yaml.Node) { r.header(&m, n) })},
		field{"json", r.each("json", func(n *yaml.Node) { r.jsonPath(&m, n) })},
		field{"detect", r.each("detect", func(n *yaml.Node) { r.detector(&m, n) })},
		field{"with", r.word((*string)(&m.with), "way of masking", waysOfMasking()...)},
		field{"except", r.texts(&m.except)},
	)
	m.name = name.string
	r.needs(n, "a mask", "name", m.name)
	r.needs(n, "a mask", "target", m.target.string)
	if !slices.ContainsFunc([]string{"columns", "headers", "json", "detect"}, func(key string) bool { return r.has(n, key) && !r.empty(n, key) }) {
		r.wrong(n, "a mask that names nothing hides nothing", "columns, headers, json or detect")
	}
	if m.with.Keyed() && len(p.key) < 16 {
		r.wrong(n, fmt.Sprintf("masking with %s needs the host's key, and there is none", m.with), "with: redact")
	}
	p.masks = append(p.masks, m)
}

func waysOfMasking() []string {
	var all []string
	for _, o := range mask.Operators {
		all = append(all, string(o))
	}
	return all
}

// maskKey derives the mask's own key: values masked by one mask can be joined, by
// two they cannot.
func (p *Policy) maskKey(name string) []byte {
	h := hmac.New(sha256.New, p.key)
	h.Write([]byte("chaperone mask\x00" + name))
	return h.Sum(nil)
}

// Masks says what is hidden from identity on target. It is never nil, and for one policy always
// the same: what is made of it can be shared.
func (p *Policy) Masks(identity, target string) *Masks {
	key := [2]string{identity, target}
	if all, ok := p.masked.Load(key); ok {
		return all.(*Masks)
	}
	all, _ := p.masked.LoadOrStore(key, p.masksFor(identity, target))
	return all.(*Masks)
}

func (p *Policy) masksFor(identity, target string) *Masks {
	all := &Masks{headers: map[string]mask.Mask{}}
	for i := range p.masks {
		if m := &p.masks[i]; m.concerns(identity, target) {
			all.add(m, p.maskKey(m.name))
		}
	}
	return all
}

func (m *maskRule) concerns(identity, target string) bool {
	if m.target.string != "*" && m.target.string != target {
		return false
	}
	return !slices.ContainsFunc(m.except, func(n named) bool { return n.string == identity })
}

func (m *Masks) add(rule *maskRule, key []byte) {
	with := mask.Mask{Op: rule.with}
	if rule.with.Keyed() {
		with.Key = key
	}
	for _, c := range rule.columns {
		c.with = with
		m.columns = append(m.columns, c)
	}
	for _, h := range rule.headers {
		if _, ok := m.headers[h]; !ok {
			m.headers[h] = with
		}
	}
	for _, path := range rule.json {
		m.json = append(m.json, JSONMask{Path: path, With: with})
	}
	if rule.detect == 0 {
		return
	}
	if m.detectors != 0 && (m.detected.Op != with.Op || string(m.detected.Key) != string(with.Key)) {
		with = mask.Mask{Op: mask.Redact} // two ways for one text: the one that shows least
	}
	m.detectors |= rule.detect
	m.detected = with
}
