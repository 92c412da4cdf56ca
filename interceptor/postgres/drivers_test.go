package postgres

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lib/pq"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

func connect(t *testing.T, w *watched, user string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), w.url(user))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func code(err error) string {
	var p *pgconn.PgError
	if errors.As(err, &p) {
		return p.Code
	}
	return fmt.Sprint(err)
}

func TestPgxInEveryMode(t *testing.T) {
	w := watch(t, "full", "")
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		t.Run(mode.String(), func(t *testing.T) {
			c := connect(t, w, "scram")
			for range 3 {
				var word string
				if err := c.QueryRow(t.Context(), "select word from plain where id = $1", mode, 7).Scan(&word); err != nil || word != "word 7" {
					t.Fatal(word, err)
				}
				if _, err := c.Exec(t.Context(), "truncate plain", mode); code(err) != "42501" {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestRefusalInsideABatch(t *testing.T) {
	w := watch(t, "full", "")
	c := connect(t, w, "postgres")
	b := &pgx.Batch{}
	b.Queue("select 1")
	b.Queue("truncate plain")
	b.Queue("select 2")
	r := c.SendBatch(t.Context(), b)
	_, err := r.Exec()
	if err == nil {
		_, err = r.Exec()
	}
	if code(err) != "42501" {
		t.Fatal(err)
	}
	r.Close()
	var n int
	if err := c.QueryRow(t.Context(), "select count(*) from plain").Scan(&n); err != nil || n != 1000 {
		t.Fatal(n, err)
	}
}

func TestRefusalInsideAPipeline(t *testing.T) {
	w := watch(t, "full", "")
	c := connect(t, w, "postgres")
	p := c.PgConn().StartPipeline(t.Context())
	p.SendQueryParams("select 1", nil, nil, nil, nil)
	p.SendQueryParams("truncate plain", nil, nil, nil, nil)
	p.SendQueryParams("select 2", nil, nil, nil, nil)
	if err := p.Sync(); err != nil {
		t.Fatal(err)
	}
	p.SendQueryParams("select 3", nil, nil, nil, nil)
	if err := p.Sync(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		r, err := p.GetResults()
		if err != nil {
			got = append(got, code(err))
			continue
		}
		if r == nil {
			break
		}
		switch r := r.(type) {
		case *pgconn.ResultReader:
			rows := r.Read()
			if rows.Err != nil {
				got = append(got, code(rows.Err))
				continue
			}
			got = append(got, string(rows.Rows[0][0]))
		case *pgconn.PipelineSync:
			got = append(got, "sync")
		}
		if len(got) > 20 {
			break
		}
	}
	if err := p.Close(); err != nil && code(err) != "42501" {
		t.Error(err)
	}
	if s := strings.Join(got, " "); s != "1 42501 sync 3 sync" {
		t.Error(s)
	}
	if c.PgConn().TxStatus() != 'I' {
		t.Error("transaction status", c.PgConn().TxStatus())
	}
}

func TestRefusalInsideATransactionFailsIt(t *testing.T) {
	w := watch(t, "full", "")
	c := connect(t, w, "postgres")
	tx, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "insert into plain values (5000, 'x')"); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "truncate plain"); code(err) != "42501" {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "select 1"); code(err) != "25P02" {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); !errors.Is(err, pgx.ErrTxCommitRollback) {
		t.Fatal(err)
	}
	var n int
	if err := c.QueryRow(t.Context(), "select count(*) from plain where id = 5000").Scan(&n); err != nil || n != 0 {
		t.Fatal(n, err)
	}
}

func TestRefusalOfAStringOfStatementsRunsNoneOfThem(t *testing.T) {
	w := watch(t, "full", "")
	c := connect(t, w, "postgres")
	_, err := c.PgConn().Exec(t.Context(), "insert into plain values (6000, 'x'); truncate plain").ReadAll()
	if code(err) != "42501" {
		t.Fatal(err)
	}
	var n int
	if err := c.QueryRow(t.Context(), "select count(*) from plain where id = 6000").Scan(&n); err != nil || n != 0 {
		t.Fatal(n, err)
	}
}

func TestCopyBothWays(t *testing.T) {
	w := watch(t, "full", "")
	c := connect(t, w, "postgres")
	if _, err := c.Exec(t.Context(), "create table if not exists copied (id int, word text)"); err != nil {
		t.Fatal(err)
	}
	rows := make([][]any, 10000)
	for i := range rows {
		rows[i] = []any{i, strings.Repeat("x", i%100)}
	}
	n, err := c.CopyFrom(t.Context(), pgx.Identifier{"copied"}, []string{"id", "word"}, pgx.CopyFromRows(rows))
	if err != nil || n != 10000 {
		t.Fatal(n, err)
	}
	var out bytes.Buffer
	if _, err := c.PgConn().CopyTo(t.Context(), &out, "copy copied to stdout"); err != nil || bytes.Count(out.Bytes(), []byte("\n")) != 10000 {
		t.Fatal(err)
	}
	_, err = c.PgConn().CopyFrom(t.Context(), strings.NewReader("a\tb\n"), "copy copied from stdin")
	if code(err) != "22P02" {
		t.Fatal(err)
	}
	if _, err := c.PgConn().CopyFrom(t.Context(), failingReader{}, "copy copied from stdin"); err == nil {
		t.Fatal("a failing reader was no error")
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("no more") }

func TestLibPQ(t *testing.T) {
	w := watch(t, "full", "")
	db, err := sql.Open("postgres", w.url("md5")+"?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var word string
	if err := db.QueryRow("select word from plain where id = $1", 9).Scan(&word); err != nil || word != "word 9" {
		t.Fatal(word, err)
	}
	var e *pq.Error
	if _, err := db.Exec("truncate plain"); !errors.As(err, &e) || e.Code != "42501" || !strings.Contains(e.Detail, "no-truncate") {
		t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("create temp table t (a int)"); err != nil {
		t.Fatal(err)
	}
	st, err := tx.Prepare("COPY t (a) FROM STDIN")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if _, err := st.Exec(i); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := st.Exec(); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRow("select count(*) from t").Scan(&n); err != nil || n != 100 {
		t.Fatal(n, err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

func TestPgbench(t *testing.T) {
	w := watch(t, "full", "")
	if out, err := w.run("pgbench", "-i", "-q", "-s", "1", fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres", postgres.port)); err != nil {
		t.Fatal(err, out)
	}
	for _, mode := range []string{"simple", "extended", "prepared"} {
		for _, script := range []string{"-S", "-N", "-b tpcb-like"} {
			args := append([]string{"-n", "-c", "4", "-t", "20", "-M", mode}, strings.Fields(script)...)
			if out, err := w.run("pgbench", append(args, w.url("postgres"))...); err != nil || !strings.Contains(out, "processed: 80/80") {
				t.Error(mode, script, err, out)
			}
		}
	}
}

func TestHoldTellsTheClientAndWaits(t *testing.T) {
	w := watch(t, "full", "")
	config, err := pgx.ParseConfig(w.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	notices := make(chan string, 10)
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		notices <- n.Message
		w.asker.answers <- flow.AskState{State: "approved"}
	}
	c, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if _, err := c.Exec(t.Context(), "create table dropped (a int)"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), "drop table dropped"); err != nil {
		t.Fatal(err)
	}
	if n := <-notices; !strings.Contains(n, "ask-7") {
		t.Error(n)
	}
	w.asker.answers <- flow.AskState{State: "denied", Reason: "no"}
	if _, err := c.Exec(t.Context(), "drop table dropped"); code(err) != "42501" {
		t.Error(err)
	}
	w.asker.answers <- flow.AskState{State: "expired"}
	if _, err := c.Exec(t.Context(), "drop table dropped"); code(err) != "57014" {
		t.Error(err)
	}
}

func TestCancel(t *testing.T) {
	w := watch(t, "full", "")
	c := connect(t, w, "postgres")
	for _, text := range []string{"select pg_sleep(20)", "drop table plain"} {
		time.AfterFunc(300*time.Millisecond, func() { c.PgConn().CancelRequest(context.Background()) })
		begun := time.Now()
		_, err := c.Exec(t.Context(), text)
		if code(err) != "57014" || time.Since(begun) > 10*time.Second {
			t.Error(text, err)
		}
	}
	if _, err := c.Exec(t.Context(), "select 1"); err != nil {
		t.Error(err)
	}
}

func TestPortalsWithRowLimits(t *testing.T) {
	w := watch(t, "full", "")
	out, err := w.run("/usr/bin/python3", "-c", `
import psycopg2, sys
c = psycopg2.connect(sys.argv[1])
k = c.cursor('named'); k.itersize = 10
k.execute('select id from plain order by id')
print(sum(r[0] for r in k))
k = c.cursor()
try: k.execute('truncate plain')
except psycopg2.errors.InsufficientPrivilege as e: print('refused', e.diag.message_detail)
c.rollback()
k.execute('listen x'); c.commit()
k.execute("notify x, 'hallo'"); c.commit(); c.poll()
print([n.payload for n in c.notifies])
`, w.url("postgres"))
	if err != nil || out != "500500\nrefused Rule: no-truncate\n['hallo']\n" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestReplicationIsJudged(t *testing.T) {
	w := watch(t, "full", "  - {name: no-replication, target: db, when: 'request.kind == \"replication\"', verdict: deny}\n")
	out, err := w.run("psql", "-X", "-At", fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres replication=database", w.port), "-c", "IDENTIFY_SYSTEM")
	if err == nil || !strings.Contains(out, "no-replication") {
		t.Error(err, out)
	}
}

func TestLargeValuesPassInBoundedMemory(t *testing.T) {
	w := watch(t, "statements", "-")
	c := connect(t, w, "postgres")
	big := strings.Repeat("0123456789abcdef", 4<<20)
	var n int
	if err := c.QueryRow(t.Context(), "select length($1::text)", big).Scan(&n); err != nil || n != len(big) {
		t.Fatal(n, err)
	}
	var back string
	if err := c.QueryRow(t.Context(), "select repeat('0123456789abcdef', 4194304)").Scan(&back); err != nil || back != big {
		t.Fatal(len(back), err)
	}
	if err := c.QueryRow(t.Context(), "select length('"+big[:3<<20]+"')", pgx.QueryExecModeSimpleProtocol).Scan(&n); err != nil || n != 3<<20 {
		t.Fatal(n, err)
	}
	if up := len(w.tapes.everything(interceptor.TapeUp)); up > 4<<20 {
		t.Error("tape of", up, "bytes at level statements")
	}
}

func TestNewPolicyReachesPreparedStatements(t *testing.T) {
	w := watch(t, "full", "")
	c := connect(t, w, "postgres")
	if _, err := c.Prepare(t.Context(), "s", "select count(*) from plain"); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := c.QueryRow(t.Context(), "s").Scan(&n); err != nil {
		t.Fatal(err)
	}
	w.load(policy("full", "  - {name: no-reading, target: db, when: 'request.effects.exists(e, e.action == \"read\")', verdict: deny}\n"), 2)
	if err := c.QueryRow(t.Context(), "s").Scan(&n); code(err) != "42501" {
		t.Fatal(err)
	}
	w.load(policy("full", ""), 3)
	if err := c.QueryRow(t.Context(), "s").Scan(&n); err != nil {
		t.Fatal(err)
	}
}
