package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A Flush makes the server answer without ending the client's implicit transaction; what
// we ask the server ourselves must not end it either.
func TestCatalogIsNotAskedInsideABatch(t *testing.T) {
	w := secretly(t, "redact")
	c := connect(t, w, "postgres")
	f := c.PgConn().Frontend()
	ask := func(text string) {
		f.SendParse(&pgproto3.Parse{Query: text})
		f.SendBind(&pgproto3.Bind{})
		f.SendExecute(&pgproto3.Execute{})
		f.Send(&pgproto3.Flush{})
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	until := func(done func(pgproto3.BackendMessage) bool) {
		for {
			m, err := f.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if done(m) {
				return
			}
		}
	}
	complete := func(m pgproto3.BackendMessage) bool { _, ok := m.(*pgproto3.CommandComplete); return ok }
	ask("create table batched (a int)") // definitions change: the next statement would load
	until(complete)
	ask("insert into other values (77, 'x')")
	until(complete)
	ask("select 1/0")
	until(func(m pgproto3.BackendMessage) bool { _, ok := m.(*pgproto3.ErrorResponse); return ok })
	f.SendSync(&pgproto3.Sync{})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	until(func(m pgproto3.BackendMessage) bool { _, ok := m.(*pgproto3.ReadyForQuery); return ok })
	if out, err := postgres.psql("select count(*) from other where id = 77"); err != nil || out != "0\n" {
		t.Errorf("the batch was committed halfway: %q %v", out, err)
	}
}

// A Flush begins nothing: the catalog is looked at behind it as behind a Sync.
func TestAFlushBeginsNoBatch(t *testing.T) {
	w := secretly(t, "redact")
	a := attack(t, w, "")
	a.send(&pgproto3.Flush{}, parse("", "select 'shown' || ''"), bind("", ""), execute(""), &pgproto3.Sync{})
	if said := a.until(1); said != "" || !strings.Contains(a.got.String(), "shown") {
		t.Error("it is hidden;", said)
	}
}

func TestAParseThatFailsLeavesTheNameToWhoHadIt(t *testing.T) {
	w := watch(t, "full", "")
	a := attack(t, w, "")
	sync := &pgproto3.Sync{}
	a.send(parse("dup", "select 'first' || ''"), sync, parse("dup", "select 'second' || ''"), sync, bind("", "dup"), execute(""), sync)
	if said := a.until(3); said != " 42P05" || !strings.Contains(a.got.String(), "first") {
		t.Error("said", said)
	}
	a.send(simple("deallocate dup"), parse("dup", "select 'third' || ''"), sync, bind("", "dup"), execute(""), sync)
	if said := a.until(3); said != "" || !strings.Contains(a.got.String(), "third") {
		t.Error("said", said)
	}
}

func TestSQLExecutesWhatWasPrepared(t *testing.T) {
	w := watch(t, "full", "")
	a := attack(t, w, "")
	sync := &pgproto3.Sync{}
	a.send(parse("np", "select 22"), parse("evil", "drop table nowhere"), sync)
	a.until(1)
	a.send(simple("execute np"))
	if said := a.until(1); said != "" {
		t.Error("said", said)
	}
	w.deny(1)
	a.send(simple("execute evil"))
	if said := a.until(1); said != " 42501" || len(w.asker.seen()) != 1 {
		t.Error("said", said)
	}
	a.does("deallocate np", "prepare np as select 33")
	a.send(simple("execute np")) // nobody knows whether either of these was carried out
	if said := a.until(1); said != " 42501" {
		t.Error("said", said)
	}
}
