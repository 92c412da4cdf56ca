package rules

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/chaperone-dev/chaperone/rules/detect"
)

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
