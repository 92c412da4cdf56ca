package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

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
			r.complain(yamlPlace(r.file, err), "not YAML: "+yamlWhat(err), "")
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
	r.wrong(key, fmt.Sprintf("unknown field %q in %s", clip(key.Value), what), didYouMean(key.Value, names))
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

// text reads a scalar of printable text; numbers and booleans are taken as written.
func (r *reader) text(into *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		switch {
		case n.Kind != yaml.ScalarNode || n.Tag == "!!null":
			r.wrong(n, "expected text", "")
		case len(n.Value) > 16<<10:
			r.wrong(n, "text is longer than 16 KiB", "")
		case strings.ContainsFunc(n.Value, unprintable):
			r.wrong(n, "text holds control characters", "")
		default:
			*into = n.Value
		}
	}
}

func unprintable(c rune) bool {
	return c != '\n' && c != '\t' && (unicode.IsControl(c) || unicode.Is(unicode.Cf, c) || c == unicode.ReplacementChar)
}

// names appends a list of texts.
func (r *reader) texts(into *[]named) func(*yaml.Node) {
	return r.each("this", func(n *yaml.Node) {
		var s string
		r.text(&s)(n)
		if s == "" && n.Kind == yaml.ScalarNode {
			r.wrong(n, "empty text in a list", "")
			return
		}
		*into = append(*into, named{s, r.at(n)})
	})
}

// named is a name where it stands.
type named struct {
	string
	at place
}

var nameShape = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// name reads the name of a thing or of another one. Names become file names,
// metric labels and parts of messages, so their alphabet is small.
func (r *reader) name(into *named) func(*yaml.Node) {
	return func(n *yaml.Node) {
		r.text(&into.string)(n)
		into.at = r.at(n)
		if into.string != "" && into.string != "*" && !nameShape.MatchString(into.string) {
			r.wrong(n, fmt.Sprintf("%q is not a name", clip(into.string)), "letters, digits, '.', '_', '-', at most 63")
		}
	}
}

// word reads one of a closed list.
func (r *reader) word(into *string, what string, known ...string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var s string
		r.text(&s)(n)
		for _, k := range known {
			if s == k {
				*into = s
				return
			}
		}
		r.wrong(n, fmt.Sprintf("unknown %s %q", what, clip(s)), didYouMean(s, known))
	}
}

// labels reads a mapping of texts.
func (r *reader) labels(into *map[string]string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		*into = map[string]string{}
		var known []field
		for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			known = append(known, field{key, func(v *yaml.Node) {
				var s string
				r.text(&s)(v)
				(*into)[key] = s
			}})
		}
		r.mapping(n, "labels", known...)
	}
}

// span reads a duration: Go's spelling, or days and weeks ("7d", "2w").
func (r *reader) span(into *time.Duration) func(*yaml.Node) {
	return func(n *yaml.Node) {
		d, err := parseSpan(n.Value)
		if err != nil || n.Kind != yaml.ScalarNode {
			r.wrong(n, fmt.Sprintf("%q is not a duration", clip(n.Value)), "such as 90s, 10m, 1h30m, 7d")
			return
		}
		if d <= 0 {
			r.wrong(n, "a duration must be more than nothing", "")
			return
		}
		*into = d
	}
}

const maxSpan = 10 * 365 * 24 * time.Hour

func parseSpan(s string) (time.Duration, error) {
	for suffix, unit := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if count, ok := strings.CutSuffix(s, suffix); ok {
			n, err := strconv.ParseUint(count, 10, 16)
			if err != nil || time.Duration(n) > maxSpan/unit {
				return 0, errors.New("out of range")
			}
			return time.Duration(n) * unit, nil
		}
	}
	d, err := time.ParseDuration(s)
	if d > maxSpan {
		return 0, errors.New("out of range")
	}
	return d, err
}

// day reads a date or a time. A date means the end of that day in UTC.
func (r *reader) day(into *time.Time) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if t, err := time.Parse(time.DateOnly, n.Value); err == nil {
			*into = t.AddDate(0, 0, 1)
			return
		}
		t, err := time.Parse(time.RFC3339, n.Value)
		if err != nil || t.IsZero() {
			r.wrong(n, fmt.Sprintf("%q is not a date", clip(n.Value)), "such as 2027-06-30 or 2027-06-30T12:00:00Z")
			return
		}
		*into = t.UTC()
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
