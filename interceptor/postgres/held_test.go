package postgres

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/lib/pq"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

const deletesAsk = `  - name: delete-asks
    target: db
    when: 'request.effects.exists(e, e.action == "delete")'
    verdict: hold
    approvers: [dba]
    timeout: 1m
`

// deleting is a proxy that holds deletes, before a table of ten rows.
func deleting(t *testing.T) *watched {
	t.Helper()
	table := "create table if not exists victims (id int, name text); truncate victims; insert into victims select i, 'v'||i from generate_series(1,10) i; grant all on victims to public"
	if _, err := postgres.psql(table); err != nil {
		t.Fatal(err)
	}
	return watch(t, "full", deletesAsk)
}

func (w *watched) approve(n int) {
	for range n {
		w.asker.answers <- flow.AskState{State: "approved"}
	}
}

func victims(t *testing.T) string {
	t.Helper()
	out, err := postgres.psql("select count(*) from victims")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func TestEachRunOfAPreparedStatementIsAskedAbout(t *testing.T) {
	w := deleting(t)
	c := connect(t, w, "postgres")
	if _, err := c.Prepare(t.Context(), "d", "delete from victims where id > $1 and name <> $2"); err != nil {
		t.Fatal(err)
	}
	if n := len(w.asker.seen()); n != 0 {
		t.Fatal("asked at Parse", n)
	}
	w.approve(1)
	if _, err := c.Exec(t.Context(), "d", 9, "it's"); err != nil {
		t.Fatal(err)
	}
	w.asker.answers <- flow.AskState{State: "denied"}
	if _, err := c.Exec(t.Context(), "d", 0, "x"); code(err) != "42501" {
		t.Fatal(err)
	}
	if n := victims(t); n != "9" {
		t.Error("left:", n)
	}
	if c.PgConn().TxStatus() != 'I' {
		t.Error("status", c.PgConn().TxStatus())
	}
	var n int
	if err := c.QueryRow(t.Context(), "select count(*) from victims").Scan(&n); err != nil || n != 9 {
		t.Error(n, err)
	}
	asked := w.asker.seen()
	if len(asked) != 2 || fmt.Sprint(asked[0].Parameters) != "['9' 'it''s']" || fmt.Sprint(asked[1].Parameters) != "['0' 'x']" {
		t.Fatalf("asked: %+v", asked)
	}
	if asked[0].Fingerprint == asked[1].Fingerprint {
		t.Error("one approval covers both")
	}
}

func TestFingerprintIsOfTextParametersAndSettings(t *testing.T) {
	w := deleting(t)
	c := connect(t, w, "postgres")
	w.approve(6)
	for _, run := range []any{100, 100, 101, "set", 100} {
		if run == "set" {
			if _, err := c.Exec(t.Context(), "set search_path = pg_catalog, public"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if _, err := c.Exec(t.Context(), "delete from victims where id > $1", run); err != nil {
			t.Fatal(err)
		}
	}
	a := w.asker.seen()
	if len(a) != 4 || a[0].Fingerprint != a[1].Fingerprint || a[1].Fingerprint == a[2].Fingerprint || a[0].Fingerprint == a[3].Fingerprint {
		t.Errorf("%+v", a)
	}
}

func TestDeniedRunFailsItsTransaction(t *testing.T) {
	w := deleting(t)
	c := connect(t, w, "postgres")
	tx, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.asker.answers <- flow.AskState{State: "denied"}
	if _, err := tx.Exec(t.Context(), "delete from victims where id = $1", 1); code(err) != "42501" {
		t.Fatal(err)
	}
	if c.PgConn().TxStatus() != 'E' {
		t.Error("status", c.PgConn().TxStatus())
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := victims(t); n != "10" {
		t.Error(n)
	}
}

func TestRunsInABatchAreAskedInTheirOrder(t *testing.T) {
	w := deleting(t)
	c := connect(t, w, "postgres")
	b := &pgx.Batch{}
	b.Queue("update victims set name = 'first' where id = $1", 1)
	b.Queue("delete from victims where id = $1", 2)
	b.Queue("delete from victims where id = $1", 3)
	b.Queue("select count(*) from victims")
	w.approve(2)
	r := c.SendBatch(t.Context(), b)
	for range 3 {
		if _, err := r.Exec(); err != nil {
			t.Fatal(err)
		}
	}
	var n int
	if err := r.QueryRow().Scan(&n); err != nil || n != 8 {
		t.Error(n, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	a := w.asker.seen()
	if len(a) != 2 || a[0].Parameters[0] != "'2'" || a[1].Parameters[0] != "'3'" {
		t.Errorf("%+v", a)
	}
}

func TestRunsByLibPQAndPsycopg2(t *testing.T) {
	w := deleting(t)
	db, err := sql.Open("postgres", w.url("postgres")+"?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	st, err := db.Prepare("delete from victims where id = $1")
	if err != nil {
		t.Fatal(err)
	}
	w.approve(1)
	if _, err := st.Exec(5); err != nil {
		t.Fatal(err)
	}
	w.asker.answers <- flow.AskState{State: "denied"}
	var e *pq.Error
	if _, err := st.Exec(6); !errors.As(err, &e) || e.Code != "42501" {
		t.Fatal(err)
	}
	w.approve(1)
	if _, err := st.Exec(7); err != nil {
		t.Fatal(err)
	}
	w.approve(1)
	w.asker.answers <- flow.AskState{State: "denied"}
	out, err := w.run("/usr/bin/python3", "-c", `
import psycopg2
c = psycopg2.connect("`+w.url("postgres")+`"); c.autocommit = True
k = c.cursor()
k.execute("delete from victims where id = %s", (8,))
try: k.execute("delete from victims where id = %s", (9,))
except psycopg2.Error as e: print(e.pgcode)
k.execute("select count(*) from victims"); print(k.fetchone()[0])`)
	if err != nil || out != "42501\n7\n" {
		t.Errorf("%v: %s", err, out)
	}
	if a := w.asker.seen(); len(a) != 5 {
		t.Errorf("%d asks", len(a))
	}
}

// extended is a conversation in pgproto3's words.
type extended struct {
	t *testing.T
	f *pgproto3.Frontend
}

func (x extended) send(messages ...pgproto3.FrontendMessage) {
	x.t.Helper()
	for _, m := range messages {
		x.f.Send(m)
	}
	if err := x.f.Flush(); err != nil {
		x.t.Fatal(err)
	}
}

// answers names what came until n ReadyForQuery.
func (x extended) answers(n int) string {
	x.t.Helper()
	var got []string
	for n > 0 {
		m, err := x.f.Receive()
		if err != nil {
			x.t.Fatal(err, got)
		}
		switch m := m.(type) {
		case *pgproto3.ReadyForQuery:
			n--
			got = append(got, string(m.TxStatus))
		case *pgproto3.ErrorResponse:
			got = append(got, m.Code)
		case *pgproto3.CommandComplete:
			got = append(got, string(m.CommandTag))
		case *pgproto3.PortalSuspended:
			got = append(got, "suspended")
		}
	}
	return strings.Join(got, " ")
}

func TestAPortalThatGoesOnIsOneRun(t *testing.T) {
	w := deleting(t)
	x := extended{t, connect(t, w, "postgres").PgConn().Frontend()}
	w.approve(1)
	x.send(&pgproto3.Parse{Query: "delete from victims where id > $1 returning id"}, &pgproto3.Bind{Parameters: [][]byte{[]byte("4")}},
		&pgproto3.Execute{MaxRows: 2}, &pgproto3.Execute{MaxRows: 2}, &pgproto3.Execute{}, &pgproto3.Sync{})
	if got := x.answers(1); got != "suspended suspended DELETE 2 I" {
		t.Error(got)
	}
	if n := len(w.asker.seen()); n != 1 {
		t.Error(n, "asks")
	}
}

// Each of these ran once what nobody was asked about, or would have.
func TestNoWayAroundAnAskForARun(t *testing.T) {
	parse := func(name, text string) *pgproto3.Parse { return &pgproto3.Parse{Name: name, Query: text} }
	bind := func(portal, from string, values ...string) *pgproto3.Bind {
		b := &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: from}
		for _, v := range values {
			b.Parameters = append(b.Parameters, []byte(v))
		}
		return b
	}
	execute := func(portal string) *pgproto3.Execute { return &pgproto3.Execute{Portal: portal} }
	query := func(text string) *pgproto3.Query { return &pgproto3.Query{String: text} }
	sync := &pgproto3.Sync{}
	const doomed = "delete from victims where id > $1 returning id"
	for name, c := range map[string]struct {
		messages []pgproto3.FrontendMessage
		syncs    int
	}{
		"FETCH from a bound portal": {[]pgproto3.FrontendMessage{query("begin"), parse("d", doomed), bind("p", "d", "0"), sync, query("fetch all from p"), query("commit")}, 4},
		"SQL's EXECUTE":             {[]pgproto3.FrontendMessage{parse("d", doomed), sync, query("execute d(0)")}, 2},
		"EXPLAIN ANALYZE EXECUTE":   {[]pgproto3.FrontendMessage{parse("d", doomed), sync, query("explain analyze execute d(0)")}, 2},
		"a Parse that is not carried out": {[]pgproto3.FrontendMessage{parse("d", doomed), sync, parse("d", "select $1::int"), sync,
			bind("", "d", "0"), execute(""), sync}, 3},
		"a Bind that is skipped": {[]pgproto3.FrontendMessage{query("begin"), parse("d", doomed), parse("s", "select $1::int"), parse("sp", "savepoint s"), parse("rb", "rollback to s"),
			bind("q", "sp"), execute("q"), bind("", "d", "0"), sync, parse("", "bad"), bind("", "s", "1"), sync,
			bind("r", "rb"), execute("r"), sync, execute(""), sync, query("commit")}, 6},
		"PREPARE over a Parse": {[]pgproto3.FrontendMessage{parse("s", "select $1::int"), sync, query("deallocate s"), query("prepare s(int) as " + doomed),
			bind("", "s", "0"), execute(""), sync}, 4},
		"parameters nobody can see": {[]pgproto3.FrontendMessage{parse("", "delete from victims where name <> $1"), bind("", "", strings.Repeat("x", maxText)), execute(""), sync}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := deleting(t)
			go func() {
				for range 10 {
					select {
					case w.asker.answers <- flow.AskState{State: "denied"}:
					case <-t.Context().Done():
						return
					}
				}
			}()
			x := extended{t, connect(t, w, "postgres").PgConn().Frontend()}
			x.send(c.messages...)
			got := x.answers(c.syncs)
			if n := victims(t); n != "10" {
				t.Errorf("%s victims are left after %s", n, got)
			}
		})
	}
}

func TestANewPolicyHoldsWhatWasBound(t *testing.T) {
	w := watch(t, "full", "")
	if _, err := postgres.psql("create table if not exists victims (id int, name text)"); err != nil {
		t.Fatal(err)
	}
	x := extended{t, connect(t, w, "postgres").PgConn().Frontend()}
	x.send(&pgproto3.Query{String: "begin"}, &pgproto3.Parse{Query: "delete from victims where id = $1"},
		&pgproto3.Bind{Parameters: [][]byte{[]byte("1")}}, &pgproto3.Sync{})
	if got := x.answers(2); got != "BEGIN T T" {
		t.Fatal(got)
	}
	w.load(policy("full", deletesAsk), 2)
	x.send(&pgproto3.Execute{}, &pgproto3.Sync{})
	if got := x.answers(1); got != "42501 E" {
		t.Error(got)
	}
	if n := len(w.asker.seen()); n != 0 {
		t.Error("people were asked about parameters nobody knows")
	}
	if !strings.Contains(w.journal.rules(), "delete-asks") {
		t.Error("the refusal is not in the journal")
	}
}
