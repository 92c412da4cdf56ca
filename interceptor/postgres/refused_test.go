package postgres

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/chaperone-dev/chaperone/interceptor"
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

// What an error repeats of its statement's secrets is for the client alone.
func TestErrorsKeepSecretsOffTheTape(t *testing.T) {
	for name, masks := range map[string]string{"without masks": "-", "with detectors": "-masks: [{name: m, target: db, detect: [email], with: redact}]\n"} {
		t.Run(name, func(t *testing.T) {
			w := watch(t, "full", masks)
			if _, err := postgres.psql(`create or replace function rotates() returns int language plpgsql as $$begin execute 'alter role nobody_at_all password ''hunter2'''; return 1; end$$`); err != nil {
				t.Fatal(err)
			}
			a := attack(t, w, "")
			for _, text := range []string{
				"copy plain from program 'false -H hunter2'", "alter role nobody_at_all password 'a' 'hunter2'", "alter role nobody_at_all password 'hunter2'",
				"do $$begin execute 'alter role nobody_at_all password ''hunter2'''; end$$", "select rotates()",
				"do $$begin raise notice 'password ''%''', 'hunter2'; end$$", "select 1/0",
			} {
				a.does(text)
				a.send(parse("", text), bind("", ""), execute(""), &pgproto3.Sync{})
				a.until(1)
			}
			if got := a.got.String(); strings.Count(got, "hunter2") < 8 || !strings.Contains(got, "false -H hunter2") {
				t.Errorf("the client is told less: %q", got)
			}
			tape := w.tapes.everything(interceptor.TapeDown)
			if strings.Contains(tape, "hunter2") {
				t.Errorf("the tape: %q", tape)
			}
			if !strings.Contains(tape, "division by zero") || !strings.Contains(tape, "C42704\x00") {
				t.Errorf("the tape has lost what is no secret: %q", tape)
			}
		})
	}
}
