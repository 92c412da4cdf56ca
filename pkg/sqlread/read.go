package sqlread

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// What is given to the C parser at once. Its recursion is bounded by tokens: a sum of
// 30,000 terms in 60 kB overflows its stack.
const (
	maxText   = 256 << 10 // bytes
	maxTokens = 8000
)

// Read reads a text with the C parser in this process, which a text can kill:
// call it in a child (see Serve and Start), or on texts that are known.
func Read(text string) *Reading {
	r := &Reading{Redacted: Redact(text), Fingerprint: fingerprint(text)}
	r.Statements, r.Unread = statements(text)
	if r.Unread == "" {
		r.Shape = shape(text)
	}
	r.Changes = r.Unread != "" || changes(r.Statements)
	return r
}

// Refuse is the reading of a text that was not understood, without the parser.
func Refuse(text, why string) *Reading {
	return &Reading{
		Statements:  []Statement{opaque()},
		Redacted:    Redact(text),
		Fingerprint: fingerprint(text),
		Unread:      why,
		Changes:     true,
	}
}

// opaque is a statement that may do anything.
func opaque() Statement {
	return Statement{Effects: []flow.Effect{{Action: flow.Unknown}}, Opaque: true}
}

func fingerprint(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// shape is empty for what stands beyond the parser's bounds.
func shape(text string) string {
	if !within(text) {
		return ""
	}
	s, err := pg.Fingerprint(text)
	if err != nil {
		return ""
	}
	return s
}

// statements reads every statement of a text, and says why if one of them was
// not understood.
func statements(text string) ([]Statement, string) {
	switch {
	case strings.IndexByte(text, 0) >= 0:
		return []Statement{opaque()}, "it holds a NUL byte"
	case !utf8.ValidString(text):
		return []Statement{opaque()}, "it is not valid UTF-8"
	case within(text):
		return parse(text)
	}
	return split(text)
}

// maxPieces is how many statements a long text may hold: each costs a parse.
const maxPieces = 20_000

// split reads the statements of a long text one by one. A piece that ends at the
// wrong semicolon does not parse by itself.
func split(text string) ([]Statement, string) {
	pieces, ok := cutAtSemicolons(text)
	if !ok {
		return []Statement{opaque()}, "its tokens are not SQL"
	}
	if len(pieces) > maxPieces {
		return []Statement{opaque()}, "it holds more statements than can be read"
	}
	var all []Statement
	for _, piece := range pieces {
		read, why := piecewise(piece)
		if why != "" {
			return []Statement{opaque()}, why
		}
		all = append(all, read...)
	}
	return link(all), ""
}

// cutAtSemicolons cuts a text at the semicolons outside parentheses; false when it
// ends inside a quote or a comment.
func cutAtSemicolons(text string) ([]string, bool) {
	var pieces []string
	l := lexer{text: text}
	for from, depth := 0, 0; ; {
		t, ok := l.next()
		if !ok {
			return append(pieces, text[from:]), true
		}
		switch s := text[t.from:t.to]; {
		case t.kind == broken:
			return nil, false
		case s == "(":
			depth++
		case s == ")":
			depth--
		case s == ";" && depth <= 0:
			pieces = append(pieces, text[from:t.from])
			from, depth = t.to, 0
		}
	}
}

// piecewise reads one statement of a long text.
func piecewise(piece string) ([]Statement, string) {
	if !within(piece) {
		short, ok := shorten(piece)
		if !ok || !within(short) {
			return []Statement{opaque()}, "a statement is longer than can be read"
		}
		piece = short
	}
	read, why := parse(piece)
	if len(read) > 1 {
		return []Statement{opaque()}, "its statements could not be told apart"
	}
	return read, why
}

// within says that the C parser can be given a text.
func within(text string) bool {
	return len(text) <= maxText && countTokens(text, maxTokens+1) <= maxTokens
}

// parse reads a text within bounds. A text that holds no statement gives none.
func parse(text string) ([]Statement, string) {
	tree, err := pg.Parse(text)
	if err != nil {
		return []Statement{opaque()}, "PostgreSQL's grammar does not know it"
	}
	var all []Statement
	unread := ""
	for _, raw := range tree.GetStmts() {
		w := &walker{text: source(text, raw), st: &Statement{}}
		w.top(raw.GetStmt())
		if w.unread != "" {
			unread = w.unread
		}
		all = append(all, *w.st)
	}
	return link(all), unread
}

// source is the text of one statement of a text.
func source(text string, raw *pg.RawStmt) string {
	from := min(max(int(raw.GetStmtLocation()), 0), len(text))
	to := len(text)
	if n := int(raw.GetStmtLen()); n > 0 {
		to = min(from+n, len(text))
	}
	return text[from:to]
}

// link gives each EXECUTE the effects of the PREPARE before it in the same text.
func link(all []Statement) []Statement {
	prepared := map[string]*Statement{}
	for i := range all {
		s := &all[i]
		if s.Prepares != "" {
			prepared[s.Prepares] = s
		}
		if p := prepared[s.Executes]; s.Executes != "" && p != nil {
			s.run(p)
		}
	}
	return all
}

// run makes s the execution of the prepared statement p.
func (s *Statement) run(p *Statement) {
	kept := make([]flow.Effect, 0, len(s.Effects)+len(p.Effects))
	for _, e := range s.Effects {
		if e.Action != flow.Unknown || e.Via != "execute" {
			kept = append(kept, e)
		}
	}
	for _, e := range p.Effects {
		e.Via = "execute"
		kept = append(kept, e)
	}
	s.Effects = kept
	s.Relations = slices.Concat(s.Relations, p.Relations)
	s.Reads = slices.Concat(s.Reads, p.Reads)
	s.Writes = slices.Concat(s.Writes, p.Writes)
	s.Functions = slices.Concat(s.Functions, p.Functions)
	s.Operators = slices.Concat(s.Operators, p.Operators)
	s.Fields = slices.Concat(s.Fields, p.Fields)
	s.Types = slices.Concat(s.Types, p.Types)
}

// Resolve gives each EXECUTE the effects of what known returns for its name: the
// statement that the session prepared under it, nil when there is none. It returns
// r itself when nothing is resolved.
func (r *Reading) Resolve(known func(name string) *Statement) *Reading {
	var out *Reading
	for i, s := range r.Statements {
		if s.Executes == "" || !unresolved(s) {
			continue
		}
		p := known(s.Executes)
		if p == nil {
			continue
		}
		if out == nil {
			clone := *r
			clone.Statements = append([]Statement(nil), r.Statements...)
			out = &clone
		}
		out.Statements[i].run(p)
	}
	if out == nil {
		return r
	}
	out.Changes = out.Unread != "" || changes(out.Statements)
	return out
}

func unresolved(s Statement) bool {
	for _, e := range s.Effects {
		if e.Action == flow.Unknown && e.Via == "execute" {
			return true
		}
	}
	return false
}

// changes says that some statement may change something.
func changes(all []Statement) bool {
	for _, s := range all {
		for _, e := range s.Effects {
			switch e.Action {
			case flow.Read, flow.CopyOut, flow.SessionSet, flow.Transaction:
			default:
				return true
			}
		}
	}
	return false
}
