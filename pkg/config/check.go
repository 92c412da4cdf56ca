package config

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fileLimit bounds a configuration file, in bytes.
const fileLimit = 1 << 20

func readBounded(from io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(from, fileLimit+1))
	if err == nil && len(text) > fileLimit {
		err = errors.New("is too large for a configuration")
	}
	return string(text), err
}

// check complains of every key that is no setting, every key given twice, and
// every value of the wrong shape, as path:line:column.
func check(path, text string) error {
	dec := yaml.NewDecoder(strings.NewReader(text))
	var doc yaml.Node
	err := dec.Decode(&doc)
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := dec.Decode(new(yaml.Node)); err != io.EOF {
		return fmt.Errorf("%s: more than one document (keep the first)", path)
	}
	c := &checker{path: path}
	c.section("", doc.Content[0])
	return errors.Join(c.wrong...)
}

type checker struct {
	path  string
	wrong []error
}

func (c *checker) complain(at *yaml.Node, format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Errorf("%s:%d:%d: %s", c.path, at.Line, at.Column, fmt.Sprintf(format, args...)))
}

// section checks a mapping whose keys begin with prefix.
func (c *checker) section(prefix string, node *yaml.Node) {
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return
	}
	if node.Kind != yaml.MappingNode {
		c.complain(node, "settings are written as key: value")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		if seen[name.Value] {
			c.complain(name, "%q is set twice (keep one)", prefix+name.Value)
		}
		seen[name.Value] = true
		c.entry(prefix+name.Value, name, value)
	}
}

// entry checks one key and what it holds.
func (c *checker) entry(key string, name, value *yaml.Node) {
	leaf, section := known(key)
	switch {
	case section:
		c.section(key+".", value)
	case !leaf:
		if near := nearest(key); near != "" {
			c.complain(name, "unknown setting %q (did you mean %q?)", key, near)
			return
		}
		c.complain(name, "unknown setting %q (remove it)", key)
	case value.Kind != yaml.ScalarNode:
		c.complain(value, "%s takes one value", key)
	}
}

// known says whether key is a setting, or the beginning of some.
func known(key string) (leaf, section bool) {
	for _, s := range settings() {
		leaf = leaf || s.key == key
		section = section || strings.HasPrefix(s.key, key+".")
	}
	return leaf, section
}

// nearest is the setting that key may have been meant for, "" when none is like it.
func nearest(key string) string {
	best, least := "", 1+len(key)/3
	for _, s := range settings() {
		for _, candidate := range []string{s.key, section(s.key)} {
			if d := distance(key, candidate); candidate != "" && d <= least && d > 0 {
				best, least = candidate, d-1
			}
		}
	}
	return best
}

func section(key string) string {
	name, _, within := strings.Cut(key, ".")
	if !within {
		return ""
	}
	return name
}

// distance counts the letters to insert, remove or replace to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
