package rules

import (
	"fmt"

	"github.com/chaperone-dev/chaperone/rules/detect"
	"github.com/chaperone-dev/chaperone/rules/mask"
)

// Masks are the masks that apply to one identity on one target: what Policy.Masks returns.
type Masks struct {
	columns   []columnMask
	headers   map[string]mask.Mask // lower-case header name
	json      []JSONMask
	detectors detect.Set
	detected  mask.Mask
}

type columnMask struct {
	schema, table, column string // anyName matches any
	with                  mask.Mask
}

// JSONMask hides the values at one JSON path.
type JSONMask struct {
	Path []string // object keys from the root; "*" any key or index; "**" any depth
	With mask.Mask
}

// Covers says that the value at path, or something it stands in, is hidden.
func (j JSONMask) Covers(path []string) bool { return covers(j.Path, path) }

func covers(pattern, path []string) bool {
	if len(pattern) == 0 {
		return true
	}
	if pattern[0] == anyDepth {
		for i := range len(path) + 1 {
			if covers(pattern[1:], path[i:]) {
				return true
			}
		}
		return false
	}
	return len(path) > 0 && (pattern[0] == anyKey || pattern[0] == path[0]) && covers(pattern[1:], path[1:])
}

// String counts what is masked; keys are no part of it.
func (m *Masks) String() string {
	return fmt.Sprintf("masks of %d columns, %d headers, %d JSON paths, detectors %v", len(m.columns), len(m.headers), len(m.json), m.detectors.Names())
}

// GoString is String.
func (m *Masks) GoString() string { return m.String() }

// Empty says that nothing is to be masked.
func (m *Masks) Empty() bool {
	return len(m.columns) == 0 && len(m.headers) == 0 && len(m.json) == 0 && m.detectors == 0
}

// HasColumns says that some relation column is masked.
func (m *Masks) HasColumns() bool { return len(m.columns) > 0 }

// Column tells how a relation's column is masked. The first mask that names it wins.
func (m *Masks) Column(schema, table, column string) (mask.Mask, bool) {
	for _, c := range m.columns {
		if is(c.schema, schema) && is(c.table, table) && is(c.column, column) {
			return c.with, true
		}
	}
	return mask.Mask{}, false
}

// Header tells how an HTTP header is masked; name is in lower case.
func (m *Masks) Header(name string) (mask.Mask, bool) {
	with, ok := m.headers[name]
	return with, ok
}

// JSON lists the JSON paths to mask.
func (m *Masks) JSON() []JSONMask { return m.json }

// Detectors are the value detectors to run on text, and how to hide what they find.
func (m *Masks) Detectors() (detect.Set, mask.Mask) { return m.detectors, m.detected }

// anyName is what a bare * in a column pattern becomes: no name in a database
// holds a zero byte, while one may well be a star.
const anyName = "\x00"

func is(pattern, name string) bool { return pattern == anyName || pattern == name }
