package postgres

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/interceptor/protocoltest"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

func TestBinaryCopyIsMasked(t *testing.T) {
	for _, with := range []string{"redact", "hash", `"null"`} {
		w := secretly(t, with)
		c := connect(t, w, "postgres")
		var out bytes.Buffer
		if _, err := c.PgConn().CopyTo(t.Context(), &out, "copy secrets to stdout (format binary)"); err != nil {
			t.Fatal(err)
		}
		leaksIn(t, with, out.String())
		if bytes.Contains(out.Bytes(), []byte{0xc0, 0xff, 0xee}) {
			t.Error("bytes leak")
		}
		if _, err := postgres.psql("drop table if exists sink; create table sink (like secrets including defaults)"); err != nil {
			t.Fatal(err)
		}
		direct, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres", postgres.port))
		if err != nil {
			t.Fatal(err)
		}
		for _, format := range []string{"binary", "csv", "text", "csv, delimiter ';', quote '''', null 'nix'", "text, delimiter '|'"} {
			out.Reset()
			if _, err := c.PgConn().CopyTo(t.Context(), &out, "copy secrets to stdout (format "+format+")"); err != nil {
				t.Fatal(err)
			}
			leaksIn(t, with+format, out.String())
			if tag, err := direct.PgConn().CopyFrom(t.Context(), &out, "copy sink from stdin (format "+format+")"); err != nil || tag.RowsAffected() != 2 {
				t.Error(with, format, "the masked copy cannot be loaded:", err)
			}
		}
		direct.Close(t.Context())
	}
}

func TestCopyFieldsAreFoundWhateverTheyHold(t *testing.T) {
	for name, f := range map[string]copyForm{
		"text":          {format: "text", delimiter: '\t', null: `\N`},
		"csv":           {format: "csv", delimiter: ',', quote: '"', escape: '"'},
		"csv backslash": {format: "csv", delimiter: ',', quote: '"', escape: '\\'},
	} {
		for _, value := range []string{"a,b", "a\tb", "a\nb", `a"b`, `a\b`, `\N`, "", `"`, `\"`, `",`, "\\\t", "a\rb"} {
			row := f.escaped(f.escaped(nil, []byte(value)), nil)[:0]
			row = f.escaped(row, []byte(value))
			row = append(row, f.delimiter)
			row = f.escaped(row, []byte("next"))
			raw, rest, more := f.cut(row)
			if !more || string(f.unescape(raw)) != value || string(f.unescape(rest)) != "next" {
				t.Errorf("%s: %q came back as %q, %q", name, value, f.unescape(raw), rest)
			}
		}
	}
}

func TestDefinitionsThatChangeMeanwhile(t *testing.T) {
	w := secretly(t, "redact")
	a, b := connect(t, w, "postgres"), connect(t, w, "postgres")
	var note string
	if err := b.QueryRow(t.Context(), "select upper(note) from innocent", pgx.QueryExecModeSimpleProtocol).Scan(&note); err != nil || note != "NOTE" {
		t.Fatal(note, err)
	}
	answer := make(chan string, 1)
	go func() {
		all, err := b.PgConn().Exec(context.Background(), "select pg_sleep(0.5); select note from innocent; select upper(note) from innocent").ReadAll()
		s := fmt.Sprint(err)
		for _, r := range all {
			s += string(bytesOf(r.Rows)) + " "
		}
		answer <- s
	}()
	time.Sleep(100 * time.Millisecond)
	if _, err := a.Exec(t.Context(), "create or replace view innocent as select id, ssn::text as note from secrets", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	got := <-answer
	leaksIn(t, "meanwhile", got)
	if !strings.Contains(got, "[masked]") {
		t.Error("nothing was masked:", got)
	}
}

func TestHoldInsideAPipelineKeepsTheOrder(t *testing.T) {
	w := watch(t, "full", "")
	c := connect(t, w, "postgres")
	if _, err := c.Exec(t.Context(), "create table if not exists held (a int)"); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, func() { w.asker.answers <- flow.AskState{State: "approved"} })
	b := &pgx.Batch{}
	b.Queue("insert into held values (1)")
	b.Queue("drop table held")
	b.Queue("select count(*) from plain")
	r := c.SendBatch(t.Context(), b)
	for i := range 2 {
		if _, err := r.Exec(); err != nil {
			t.Fatal(i, err)
		}
	}
	var n int
	if err := r.QueryRow().Scan(&n); err != nil || n != 1000 {
		t.Fatal(n, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSQLPreparedStatementsAreJudgedByWhatTheyDo(t *testing.T) {
	w := watch(t, "full", "")
	out, _ := w.run("psql", "-X", "-At", w.url("postgres"), "-c", "prepare a as select 1", "-c", "execute a", "-c", "deallocate a",
		"-c", "prepare a as select 2", "-c", "execute a")
	if !strings.Contains(out, "\n1\n") || strings.Contains(out, "\n2\n") || !strings.Contains(out, "42501") && !strings.Contains(out, "refused") {
		t.Errorf("a name that was given twice is certain: %s", out)
	}
}

func TestStreamingTakesNoMemory(t *testing.T) {
	tape := &protocoltest.Tape{Forget: true}
	e := fresh(tape)
	d := protocoltest.Start(e, allow, tape)
	d.Send(interceptor.Down, []byte(loginDown))
	d.Send(interceptor.Up, []byte(prepareUp))
	d.Send(interceptor.Down, []byte(prepareOK))
	head, _ := wire.Begin(nil, 'B')
	const size = 200 << 20
	head[1], head[2], head[3], head[4] = size>>24, size>>16&0xff, size>>8&0xff, size&0xff
	chunk := make([]byte, 64<<10)
	copy(chunk, append(head, "\x00s\x00\x00\x00\x00\x01"...))
	var before, after runtime.MemStats
	var out interceptor.Output
	runtime.ReadMemStats(&before)
	for sent := 0; sent < size+1; sent += len(chunk) {
		out.Reset()
		if n, err := e.Feed(interceptor.Up, chunk[:min(len(chunk), size+1-sent)], &out); err != nil || n == 0 {
			t.Fatal(sent, n, err)
		}
		clear(chunk[:32])
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("%d bytes allocated for a parameter of %d", grown, size)
	}
}

func TestClientThatLeavesWhileHeldEndsItsAsk(t *testing.T) {
	w := watch(t, "full", "")
	c := connect(t, w, "postgres")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := c.Exec(ctx, "drop table plain"); err == nil {
		t.Fatal("it was dropped")
	}
	for range 200 {
		if strings.Contains(w.outcomes(), "\n") && w.outcomes() != "\n" {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the session goes on without its client")
}

func BenchmarkMaskedRows(b *testing.B) {
	e := fresh(&protocoltest.Tape{Forget: true})
	p := &plan{shaped: true, rows: true, busy: true, columns: []column{{}, {}, {action: masked, oid: oidText}, {}}}
	m, at := wire.Begin(nil, 'D')
	m = append(m, 0, 4)
	for _, v := range []string{"12345", "some words of a row", "713-48-2956", "2020-01-01"} {
		m = append(m, 0, 0, 0, byte(len(v)))
		m = append(m, v...)
	}
	m = wire.End(m, at)
	b.SetBytes(int64(len(m)))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := e.maskValues(p, m); !ok {
			b.Fatal("bad row")
		}
	}
}

func TestDumpIsMaskedAndLoads(t *testing.T) {
	if _, err := postgres.psql(secretsTable); err != nil {
		t.Fatal(err)
	}
	w := watch(t, "full", fmt.Sprintf(maskPolicy, "partial")) // beside rules for DROP and TRUNCATE
	out, err := w.run("pg_dump", "--no-owner", "-t", "secrets", "-t", "other", w.url("postgres"))
	if err != nil {
		t.Fatal(err, out)
	}
	leaksIn(t, "dump", out)
	for _, want := range []string{"CREATE TABLE public.secrets", "COPY public.secrets", "1\tnote"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the dump", want)
		}
	}
}
