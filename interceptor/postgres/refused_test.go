package postgres

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// masksAndAllows is a proxy whose policy allows what is refused unless a rule allows it.
func masksAndAllows(t *testing.T) *watched {
	t.Helper()
	w := secretly(t, "redact")
	w.load(policy("full", "-rules:\n  - {name: all, target: db, when: 'request.kind in [\"replication\", \"function-call\"]', verdict: allow}\n"+
		"masks:\n  - {name: m, target: db, columns: [secrets.ssn], with: redact}\n"), 2)
	return w
}

func TestReplicationOfATargetWithMasksIsRefused(t *testing.T) {
	w := masksAndAllows(t)
	for _, kind := range []string{"database", "true"} {
		out, err := w.run("psql", "-X", "-At", fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres replication=%s", w.port, kind), "-c", "IDENTIFY_SYSTEM")
		if err == nil || !strings.Contains(out, "replication of a target with masks") {
			t.Error(kind, err, out)
		}
	}
	if got := w.journal.rules(); got != "(masks)\n(masks)\n" {
		t.Errorf("the journal has %q", got)
	}
}

func TestRefusalsForMasksAreInTheJournalOnce(t *testing.T) {
	w := masksAndAllows(t)
	x := extended{t, connect(t, w, "postgres").PgConn().Frontend()}
	const copying = "create table copied as select * from secrets"
	x.send(&pgproto3.Query{String: copying})
	if got := x.answers(1); got != "42501 I" {
		t.Error(got)
	}
	x.send(&pgproto3.Parse{Query: copying}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
	if got := x.answers(1); got != "42501 I" {
		t.Error(got)
	}
	x.send(&pgproto3.FunctionCall{Function: 1598, ResultFormatCode: 1})
	if got := x.answers(1); got != "42501 I" {
		t.Error(got)
	}
	if got := w.journal.rules(); got != "(masks)\n(masks)\n(masks)\n" {
		t.Errorf("the journal has %q", got)
	}
}

func TestARefusalThatCannotBeJournalledEndsTheSession(t *testing.T) {
	w := secretly(t, "redact")
	c := connect(t, w, "postgres")
	w.journal.mu.Lock()
	w.journal.fails = true
	w.journal.mu.Unlock()
	if _, err := c.Exec(t.Context(), "create table copied as select * from secrets"); code(err) != "58030" {
		t.Error(err)
	}
	if _, err := c.Exec(t.Context(), "select 1"); err == nil {
		t.Error("the session goes on")
	}
}
