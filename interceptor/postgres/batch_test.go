package postgres

import (
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
