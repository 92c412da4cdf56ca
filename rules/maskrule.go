package rules

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

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
	if !r.has(n, "columns") && !r.has(n, "headers") && !r.has(n, "json") && !r.has(n, "detect") {
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

// column reads "schema.table.column", or "table.column" for any schema. "*" is
// any name; a name with a dot or a star in it is written in double quotes.
func (r *reader) column(m *maskRule, n *yaml.Node) {
	var s string
	r.text(&s)(n)
	parts, err := columnParts(s)
	if err != nil {
		r.wrong(n, fmt.Sprintf("column %q: %v", clip(s), err), `such as public.users.email, users.email or "*.email"`)
		return
	}
	if len(parts) == 2 {
		parts = append([]string{anyName}, parts...)
	}
	m.columns = append(m.columns, columnMask{schema: parts[0], table: parts[1], column: parts[2]})
}

func columnParts(s string) ([]string, error) {
	var parts []string
	for rest := s; ; {
		name, tail, err := columnName(rest)
		if err != nil {
			return nil, err
		}
		parts = append(parts, name)
		if tail == "" {
			break
		}
		if tail[0] != '.' {
			return nil, fmt.Errorf("a dot is missing after a quoted name")
		}
		rest = tail[1:]
	}
	if len(parts) != 2 && len(parts) != 3 {
		return nil, fmt.Errorf("it has %d parts, not two or three", len(parts))
	}
	return parts, nil
}

func columnName(s string) (name, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		end := strings.IndexByte(s[1:], '"')
		if end < 1 {
			return "", "", fmt.Errorf("a quoted name is empty or not closed")
		}
		return s[1 : end+1], s[end+2:], nil
	}
	end := strings.IndexByte(s, '.')
	if end < 0 {
		end = len(s)
	}
	name, rest = s[:end], s[end:]
	switch {
	case rest == "." || name == "":
		return "", "", fmt.Errorf("a part is empty")
	case name == "*":
		return anyName, rest, nil
	case strings.ContainsAny(name, "*?\" \t\n"):
		return "", "", fmt.Errorf("* stands for a whole name only")
	}
	return strings.ToLower(name), rest, nil // as PostgreSQL folds it
}

func (r *reader) header(m *maskRule, n *yaml.Node) {
	var s string
	r.text(&s)(n)
	s = strings.ToLower(s)
	if s == "" || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		r.wrong(n, fmt.Sprintf("%q is not a header name", clip(s)), "")
		return
	}
	if slices.Contains(framing, s) {
		r.wrong(n, fmt.Sprintf("header %q frames the message and cannot be masked", s), "leave it out")
		return
	}
	m.headers = append(m.headers, s)
}

// framing are the headers a message cannot be read without (RFC 9110, 9112).
var framing = []string{
	"connection", "content-encoding", "content-length", "content-range", "content-type", "date", "host", "keep-alive",
	"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}

func (r *reader) jsonPath(m *maskRule, n *yaml.Node) {
	var s string
	r.text(&s)(n)
	path, err := ParsePath(s)
	if err != nil {
		r.wrong(n, fmt.Sprintf("JSON path %q: %v", clip(s), err), `such as $.user.email, $..ssn, $.items[*].card`)
		return
	}
	m.json = append(m.json, path)
}

func (r *reader) detector(m *maskRule, n *yaml.Node) {
	var s string
	r.word(&s, "detector", detect.Names()...)(n)
	if d, ok := detect.Named(s); ok {
		m.detect |= d
	}
}

// key derives the mask's own key: values masked by one mask can be joined, by
// two they cannot.
func (p *Policy) maskKey(name string) []byte {
	h := hmac.New(sha256.New, p.key)
	h.Write([]byte("chaperone mask\x00" + name))
	return h.Sum(nil)
}

// Masks says what is hidden from identity on target. It is never nil.
func (p *Policy) Masks(identity, target string) *Masks {
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
