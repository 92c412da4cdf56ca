package rules

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

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
		if n.Kind == yaml.ScalarNode && n.Tag != "!!null" && n.Value == "" {
			r.wrong(n, "an empty name", "letters, digits, '.', '_', '-', at most 63")
		}
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
		r.wrong(n, fmt.Sprintf("unknown %s %q", what, clip(s)), DidYouMean(s, known))
	}
}

// labels reads a mapping of texts.
func (r *reader) labels(into *map[string]string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		*into = map[string]string{}
		var known []field
		for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if strings.ContainsFunc(key, unprintable) {
				r.wrong(n.Content[i], "a label's name holds control characters", "")
			}
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

// moment reads a time.
func (r *reader) moment(into *time.Time) func(*yaml.Node) {
	return func(n *yaml.Node) {
		t, err := time.Parse(time.RFC3339, n.Value)
		if err != nil {
			r.wrong(n, fmt.Sprintf("%q is not a time", clip(n.Value)), "such as 2026-11-23T12:00:00Z")
			return
		}
		*into = t
	}
}

func (r *reader) integer(n *yaml.Node, into *uint32) {
	v, err := strconv.ParseUint(n.Value, 10, 32)
	if err != nil {
		r.wrong(n, fmt.Sprintf("%q is not a number", clip(n.Value)), "")
		return
	}
	*into = uint32(v)
}

func (r *reader) truth(into *bool) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Value != "true" && n.Value != "false" {
			r.wrong(n, fmt.Sprintf("%q is neither true nor false", clip(n.Value)), "")
		}
		*into = n.Value == "true"
	}
}

func plainTexts(list []named) []string {
	if list == nil {
		return nil
	}
	all := make([]string, len(list))
	for i, n := range list {
		all[i] = n.string
	}
	return all
}
