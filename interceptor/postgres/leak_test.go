package postgres

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chaperone-dev/chaperone/interceptor"
)

func TestCancelKeysDieWithTheirSession(t *testing.T) {
	w := watch(t, "full", "")
	c := connect(t, w, "postgres")
	p := w.server.Protocols[0].(*protocol)
	count := func() int {
		p.cancels.mu.Lock()
		defer p.cancels.mu.Unlock()
		return len(p.cancels.byKey)
	}
	if count() != 1 {
		t.Fatal(count())
	}
	c.Close(t.Context())
	for range 100 {
		if count() == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the key is still there")
}

// hostile checks a wire conversation no driver would have.
func TestNamesThatStandForSomethingElse(t *testing.T) {
	w := secretly(t, "redact")
	for name, steps := range map[string][]string{
		"bind to what SQL prepared": {"prepare p as select ssn || '' from secrets", "!p"},
		"a name given anew":         {"@p select 'a' || note from other", "deallocate p", "prepare p as select ssn || '' from secrets", "!p"},
		"a cursor of SQL":           {"begin", "declare c cursor for select ssn || '' from secrets", ">c"},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, w, "postgres")
			for _, s := range steps {
				var got string
				switch s[0] {
				case '!':
					r := c.PgConn().ExecPrepared(t.Context(), s[1:], nil, nil, nil).Read()
					got = string(bytesOf(r.Rows)) + code(r.Err)
				case '@':
					if _, err := c.Prepare(t.Context(), s[1:2], s[3:]); err != nil {
						t.Fatal(err)
					}
				case '>':
					rows, err := c.Query(t.Context(), "fetch all from "+s[1:], pgx.QueryExecModeSimpleProtocol)
					if err != nil {
						t.Fatal(err)
					}
					for rows.Next() {
						got += string(bytesOf([][][]byte{rows.RawValues()}))
					}
				default:
					if _, err := c.PgConn().Exec(t.Context(), s).ReadAll(); err != nil {
						t.Fatal(s, err)
					}
				}
				leaksIn(t, s, got)
			}
		})
	}
	leaksIn(t, "tape", w.tapes.everything(interceptor.TapeDown))
}

func bytesOf(rows [][][]byte) []byte {
	var all []byte
	for _, r := range rows {
		for _, v := range r {
			all = append(all, v...)
		}
	}
	return all
}
