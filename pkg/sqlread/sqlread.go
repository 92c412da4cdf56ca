// Package sqlread reads SQL: which effects a PostgreSQL text has, which
// relations and functions it names, and where its secrets stand.
package sqlread

import (
	"context"
	"unsafe"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// A Reader reads texts. It is safe for concurrent use.
type Reader interface {
	// Read never fails on a text: what it cannot understand comes back with
	// Unread set and the effect flow.Unknown. An error means that reading itself is
	// broken (no child process), and the caller refuses.
	Read(ctx context.Context, text string) (*Reading, error)
}

// Reading is what is known of one text, which may hold several statements.
// It is shared by those who read the same text: nobody changes it.
type Reading struct {
	Statements  []Statement
	Redacted    string // the text with passwords replaced; the text itself when it has none
	Fingerprint string // hex SHA-256 of the exact text: what an approval may cover
	Shape       string // hex; equal for texts that differ only in constants and spelling; empty when unread
	Unread      string // why the text was not understood; empty when it was
	Changes     bool   // some statement may change something
}

// Effects is every effect of every statement.
func (r *Reading) Effects() []flow.Effect {
	var all []flow.Effect
	for _, s := range r.Statements {
		all = append(all, s.Effects...)
	}
	return all
}

// Statement is one statement of a text.
type Statement struct {
	Node      string        // its node in PostgreSQL's parse tree, such as "SelectStmt"
	Effects   []flow.Effect //
	Relations []Name        // every relation named anywhere in it, as written; CTE names included
	Reads     []Name        // those of them it reads rows of, CTEs and what only a definition names left out
	Writes    []Name        // those whose rows it inserts, updates or deletes
	Functions []Name        // every function called, as written
	Operators []string      // every operator used, once; those a clause implies too, as BETWEEN does
	// Fields are the names that follow a dot, once: i.f calls f(i) where i has no such column.
	Fields []string
	Types  []string // every type named, once, those of pg_catalog left out where that is said
	// Opaque says that it runs text or plans that do not stand in it (EXECUTE,
	// FETCH, DO, CALL): it may read anything.
	Opaque bool
	Copy   *Copy // for COPY
	// Prepares is the name a PREPARE binds, Executes the one an EXECUTE runs.
	// Their effects are those of the prepared statement where it stands in the same text.
	Prepares, Executes string
}

// Name is a name as written, quoting resolved; Schema is empty when not said.
type Name struct{ Schema, Name string }

// Copy is what COPY copies.
type Copy struct {
	In       bool     // FROM STDIN; otherwise TO STDOUT
	Relation Name     // or Query
	Columns  []string // nil: all
	Query    string   // the inner query's text
	Format   string   // text csv binary
	// As written; zero for the format's default.
	Delimiter, Quote, Escape byte
	Null                     string
	NullSet, Header          bool
	Encoding                 string // as written; empty: client_encoding
}

// Size is about what a reading keeps besides its text, in bytes.
func (r *Reading) Size() (n int) {
	if r == nil {
		return 0
	}
	for i := range r.Statements {
		n += r.Statements[i].Size()
	}
	return n
}

// nameSize is about what a short name keeps, in bytes: its header, and where it stands.
const nameSize = 32

// Size is about what a statement keeps, in bytes.
func (s *Statement) Size() int {
	n := int(unsafe.Sizeof(*s)) + nameSize*(len(s.Operators)+len(s.Fields)+len(s.Types))
	n += int(unsafe.Sizeof(flow.Effect{})+nameSize) * len(s.Effects)
	for _, e := range s.Effects {
		n += nameSize * len(e.Columns)
	}
	return n + 2*nameSize*(len(s.Relations)+len(s.Reads)+len(s.Writes)+len(s.Functions))
}
