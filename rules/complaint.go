package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Complaint is one thing wrong with a policy: where, what, and what to do.
type Complaint struct {
	File         string
	Line, Column int // from 1; 0 when the complaint is about the whole file
	What         string
	Cure         string // empty when the sentence says it already
}

func (c Complaint) String() string {
	where := c.File
	if c.Line > 0 {
		where = fmt.Sprintf("%s:%d:%d", c.File, c.Line, c.Column)
	}
	if c.Cure == "" {
		return where + ": " + c.What
	}
	return fmt.Sprintf("%s: %s (%s)", where, c.What, c.Cure)
}

// Complaints is the error of Parse: everything that is wrong, so that an author
// mends a policy in one go. It is never empty.
type Complaints []Complaint

func (c Complaints) Error() string {
	lines := make([]string, len(c))
	for i, one := range c {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// place is where a thing stands in a policy.
type place struct {
	file         string
	line, column int
}

// ledger collects complaints while a policy is read.
type ledger struct{ list Complaints }

// maxComplaints bounds what one bad file can make the daemon say.
const maxComplaints = 200

func (l *ledger) complain(at place, what, cure string) {
	c := Complaint{File: at.file, Line: at.line, Column: at.column, What: what, Cure: cure}
	if len(l.list) < maxComplaints && !slices.Contains(l.list, c) {
		l.list = append(l.list, c)
	}
}

// verdict is the ledger as an error, in the order of the files; nil when nothing is wrong.
func (l *ledger) verdict() error {
	if len(l.list) == 0 {
		return nil
	}
	slices.SortStableFunc(l.list, func(a, b Complaint) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return l.list
}

// DidYouMean is the cure for a misspelt word: the nearest of those known,
// or all of them when none is near and they are few.
func DidYouMean(word string, known []string) string {
	best, distance := "", 1+max(1, len(word)/3)
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), k); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	if len(known) == 0 || len(known) > 24 {
		return ""
	}
	return "one of: " + strings.Join(known, ", ")
}

// editDistance counts insertions, deletions, replacements and swaps of
// neighbours that turn a into b (optimal string alignment). Long words are far apart.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(last[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
