package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The bounds of one policy file.
const (
	maxFile  = 1 << 20 // bytes
	maxNodes = 200_000
)

// reader walks YAML nodes of one file strictly, and notes what is wrong.
type reader struct {
	*ledger
	file  string
	lines []string // the source, to place complaints inside block scalars
	nodes int

	certificates func(path string) error // see Options
}

// field is one key a mapping may have.
type field struct {
	name string
	read func(*yaml.Node)
}

// document parses data and returns its root mapping, nil when there is none to read.
func (r *reader) document(data []byte) *yaml.Node {
	whole := place{file: r.file}
	if len(data) > maxFile {
		r.complain(whole, fmt.Sprintf("file has %d bytes, more than %d", len(data), maxFile), "split it")
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) {
			r.complain(yamlPlace(r.file, err), "not YAML: "+yamlWhat(err), yamlCure(data))
		}
		return nil
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		r.complain(whole, "more than one YAML document", "one policy per file")
		return nil
	}
	if !r.plain(&doc) {
		return nil
	}
	r.lines = strings.Split(string(data), "\n")
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil
	}
	return root
}

// plain refuses anchors, aliases and custom tags: a policy says what it says
// where it says it, and cannot be made to unfold.
func (r *reader) plain(n *yaml.Node) bool {
	if r.nodes++; r.nodes > maxNodes {
		r.complain(r.at(n), "too many nodes", "split the file")
		return false
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		r.complain(r.at(n), "YAML anchors and aliases are not allowed", "write it out")
		return false
	}
	if n.Tag != "" && !strings.HasPrefix(n.Tag, "!!") {
		r.complain(r.at(n), "YAML tags are not allowed", "leave it out")
		return false
	}
	for _, child := range n.Content {
		if !r.plain(child) {
			return false
		}
	}
	return true
}

func (r *reader) at(n *yaml.Node) place { return place{r.file, n.Line, n.Column} }

func (r *reader) wrong(n *yaml.Node, what, cure string) { r.complain(r.at(n), what, cure) }

// mapping reads a mapping's fields; a key that is not known or stands twice is a complaint.
func (r *reader) mapping(n *yaml.Node, what string, known ...field) {
	if n.Kind != yaml.MappingNode {
		r.wrong(n, what+" is not a mapping", "write key: value")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if seen[key.Value] {
			r.wrong(key, fmt.Sprintf("%q stands twice in %s", clip(key.Value), what), "keep one")
			continue
		}
		seen[key.Value] = true
		r.pick(key, value, what, known)
	}
}

func (r *reader) pick(key, value *yaml.Node, what string, known []field) {
	names := make([]string, len(known))
	for i, f := range known {
		if f.name == key.Value && key.Kind == yaml.ScalarNode {
			f.read(value)
			return
		}
		names[i] = f.name
	}
	r.wrong(key, fmt.Sprintf("unknown field %q in %s", clip(key.Value), what), DidYouMean(key.Value, names))
}

// each reads a sequence's elements.
func (r *reader) each(what string, read func(*yaml.Node)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.SequenceNode {
			r.wrong(n, what+" is not a list", "write [..] or lines that start with -")
			return
		}
		for _, element := range n.Content {
			read(element)
		}
	}
}

// refused is the reading of a field that the contract has and this version does not do.
func (r *reader) refused(f notYet) func(*yaml.Node) {
	return func(n *yaml.Node) { r.wrong(n, f.what+" is not supported yet", f.cure) }
}

// clip keeps a policy's own words in a complaint short.
func clip(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "..."
	}
	return s
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

func yamlPlace(file string, err error) place {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ := strconv.Atoi(m[1])
		return place{file, line, 1}
	}
	return place{file: file}
}

func yamlWhat(err error) string {
	what := strings.TrimPrefix(err.Error(), "yaml: ")
	return yamlLine.ReplaceAllString(what, "here")
}

var tabbed = regexp.MustCompile(`(?m)^[ -]*\t`)

// yamlCure is what to do about YAML that cannot be read: mostly it is a tab.
func yamlCure(data []byte) string {
	if tabbed.Match(data) {
		return "indent with spaces, not tabs"
	}
	return ""
}

// child is the value of a key; the mapping itself where it has none.
func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return n
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

// empty says that the key's list has nothing in it.
func (r *reader) empty(n *yaml.Node, key string) bool {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1].Kind == yaml.SequenceNode && len(n.Content[i+1].Content) == 0
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
