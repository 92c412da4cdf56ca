package postgres

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

func TestSyncAmidCopyDataShiftsNoResult(t *testing.T) {
	sync, done := &pgproto3.Sync{}, &pgproto3.CopyDone{}
	row, bad := &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyData{Data: []byte("bad\n")}
	begin := []pgproto3.FrontendMessage{parse("", "copy filled from stdin"), bind("", ""), execute("")}
	after := []pgproto3.FrontendMessage{simple(nosy), simple(tame), simple(tame), simple(tame)}
	for name, amid := range map[string][]pgproto3.FrontendMessage{
		"bad data, Sync, end, Sync":   {bad, sync, done, sync},
		"bad data, two Syncs, end":    {bad, sync, sync, done, sync},
		"good data, Sync, end, Sync":  {row, sync, done, sync},
		"Sync, bad data, Sync, end":   {sync, bad, sync, done, sync},
		"Sync, end, Sync":             {sync, done, sync},
		"end, bad data, Sync":         {done, bad, sync},
		"bad data, Sync, failure":     {bad, sync, &pgproto3.CopyFail{Message: "no"}, sync},
		"bad data, Sync and no end":   {bad, sync},
		"data, Flush, bad data, Sync": {row, &pgproto3.Flush{}, bad, sync, done, sync},
	} {
		for how, cut := range map[string]bool{"at once": false, "in turns": true} {
			t.Run(name+", "+how, func(t *testing.T) {
				w := secretly(t, "redact")
				a := attack(t, w, "")
				a.does("create temp table filled (a int)")
				pipeline := append(append([]pgproto3.FrontendMessage{}, begin...), amid...)
				if cut {
					a.send(pipeline[:4]...)
					pipeline = pipeline[4:]
				}
				a.send(append(pipeline, append(after, &pgproto3.Terminate{})...)...)
				a.until(100)
				leaksIn(t, "the wire", a.got.String())
				leaksIn(t, "the tape", w.tapes.everything(interceptor.TapeDown))
			})
		}
	}
}

// A copy into a view fails as soon as it has begun: the server then heeds the Sync that it would else have
// ignored as part of the data.
func TestACopyThatFailsAtOnceShiftsNoResult(t *testing.T) {
	sync, done := &pgproto3.Sync{}, &pgproto3.CopyDone{}
	into := []pgproto3.FrontendMessage{parse("", "copy shows from stdin"), bind("", ""), execute("")}
	peek := []pgproto3.FrontendMessage{parse("", nosy), bind("", ""), execute(""), sync}
	look := []pgproto3.FrontendMessage{parse("", tame), bind("", ""), execute(""), sync}
	for name, pipeline := range map[string][][]pgproto3.FrontendMessage{
		"behind the end":         {into, {sync, done}, peek, look},
		"behind two Syncs":       {into, {sync, sync, done}, peek, look, look},
		"behind a Sync":          {into, {sync, done, sync}, peek, look, look},
		"behind an end too many": {into, {sync, done, done}, peek, look},
		"before simple Queries":  {into, {sync, done, sync, simple(nosy), simple(tame), simple(tame)}},
		"in a simple Query":      {{simple("copy shows from stdin"), sync, done}, peek, look, look},
	} {
		t.Run(name, func(t *testing.T) {
			w := secretly(t, "redact")
			a := attack(t, w, "")
			a.send(into[0], sync, parse("", nosy), sync, parse("", tame), sync) // what is known is not asked again
			a.until(3)
			a.send(append(slices.Concat(pipeline...), &pgproto3.Terminate{})...)
			a.until(100)
			leaksIn(t, "the wire", a.got.String())
			leaksIn(t, "the tape", w.tapes.everything(interceptor.TapeDown))
		})
	}
}

// libpq sends a Sync with each Execute, and another when it ends the data.
func TestACopyThatFailsAtOnceLeavesTheSessionUsable(t *testing.T) {
	for name, masked := range map[string]bool{"without masks": false, "with masks": true} {
		t.Run(name, func(t *testing.T) {
			w := secretly(t, "redact")
			if !masked {
				w = watch(t, "full", "-")
			}
			a, sync := attack(t, w, ""), &pgproto3.Sync{}
			for _, ends := range [][]pgproto3.FrontendMessage{nil, {&pgproto3.CopyFail{}, sync}, {&pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}, sync}} {
				a.send(parse("", "copy shows from stdin"), bind("", ""), shapeOf(""), execute(""), sync)
				if said := a.until(1); strings.Contains(said, "end") || said == "" {
					t.Fatal("the copy:", said)
				}
				if a.send(ends...); ends != nil {
					if said := a.until(1); said != "" {
						t.Fatal("its end:", said)
					}
				}
				a.alive()
			}
		})
	}
}

// wildPolicy denies what a stampede is after, and masks the rest.
const wildPolicy = `-people:
  - {name: dba, members: [alice]}
rules:
  - name: none-of-it
    target: db
    when: 'request.effects.exists(e, e.action in ["drop", "truncate", "unknown"])'
    verdict: deny
`

// stampede makes random sessions that a driver never would.
type stampede struct{ *rand.Rand }

func (s stampede) of(list ...string) string { return list[s.IntN(len(list))] }

func (s stampede) nosy() string {
	return s.of(nosy, "select ssn from secrets", "select ssn || '' from secrets", "select (select ssn from secrets where id = 1)",
		"select secrets from secrets where id = 1", "select to_json(s) from secrets s", "table secrets", "select x from shows")
}

func (s stampede) tame() string {
	return s.of("set standard_conforming_strings = on", "set local standard_conforming_strings = off", "set standard_conforming_strings = off",
		tame, "select 1", "select note from other", "select id from secrets", "values ('x')", "select 1/0", "begin", "commit", "rollback",
		"savepoint a", "rollback to a", "select generate_series(1, 3)::text", "show search_path", "")
}

func (s stampede) evil() string {
	return s.of(evilQuoted, evilQuoted, evilQuoted, "drop table prey", "truncate prey", "select 1; drop table prey", "begin; drop table prey; commit")
}

func (s stampede) cursor() string {
	return fmt.Sprintf(s.of("declare %s cursor with hold for "+nosy, "declare %s cursor with hold for "+tame, "fetch all from %s", "close %s"), s.of("c1", "c2", "p1"))
}

func (s stampede) text() string {
	switch k := s.IntN(100); {
	case k < 25:
		return s.nosy()
	case k < 60:
		return s.tame()
	case k < 70:
		return s.evil()
	case k < 80:
		return s.cursor()
	case k < 85:
		return fmt.Sprintf("prepare q%d as %s", s.IntN(3), s.of(s.nosy(), tame, "select 1", nosy))
	case k < 90:
		return fmt.Sprintf("execute q%d", s.IntN(3))
	case k < 93:
		return s.of("deallocate all", "discard all", "deallocate q1", "reset all", "close all")
	case k < 95:
		return "copy other to stdout"
	case k < 97:
		return "copy filled from stdin"
	}
	return "copy (" + s.nosy() + ") to stdout"
}

func (s stampede) message() pgproto3.FrontendMessage {
	portal, name := s.of("", "p1", "p2", "c1"), s.of("", "n1", "n2", "n3", "q1")
	switch k := s.IntN(100); {
	case k < 25:
		return simple(s.text())
	case k < 45:
		return parse(s.of("", "n1", "n2", "n3"), s.text())
	case k < 60:
		return &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: name, ResultFormatCodes: [][]int16{nil, {1}}[s.IntN(2)]}
	case k < 65:
		return shapeOf(portal)
	case k < 78:
		return &pgproto3.Execute{Portal: portal, MaxRows: []uint32{0, 0, 1}[s.IntN(3)]}
	case k < 90:
		return &pgproto3.Sync{}
	case k < 93:
		return &pgproto3.Flush{}
	case k < 95:
		return &pgproto3.Close{ObjectType: 'S', Name: name}
	case k < 96:
		return &pgproto3.Close{ObjectType: 'P', Name: portal}
	case k < 98:
		return &pgproto3.CopyData{Data: []byte(s.of("1\n", "bad\n"))}
	}
	return &pgproto3.CopyDone{}
}

// run plays one session to its end and tells what it sent.
func (s stampede) run(t *testing.T, w *watched) *attacker {
	a := attack(t, w, "-c standard_conforming_strings="+s.of("on", "off"))
	for range 1 + s.IntN(3) {
		var messages []pgproto3.FrontendMessage
		for range 2 + s.IntN(12) {
			messages = append(messages, s.message())
		}
		a.wire.Send(&pgproto3.Flush{})
		a.send(messages...)
	}
	a.send(&pgproto3.Sync{}, &pgproto3.Terminate{})
	_, _ = io.Copy(io.Discard, io.TeeReader(a.conn, &a.got))
	a.conn.Close()
	return a
}

// slowly reads as late as a child process does now and then.
type slowly struct{ sqlread.Reader }

func (s slowly) Read(ctx context.Context, text string) (*sqlread.Reading, error) {
	time.Sleep(rand.N(time.Millisecond))
	return s.Reader.Read(ctx, text)
}

func TestNoStampedeGetsThrough(t *testing.T) {
	stampedes(t, 100001, 300)
}

// stampedes plays sessions of consecutive seeds.
func stampedes(t *testing.T, seed uint64, n int) {
	if _, err := postgres.psql(secretsTable + "drop table if exists filled, prey; create table filled (a int); create table prey (a int); insert into prey values (1)"); err != nil {
		t.Fatal(err)
	}
	w := watch(t, "full", wildPolicy+fmt.Sprintf(maskPolicy, "redact"))
	w.server.Protocols[0].(*protocol).reader = slowly{sqlread.Local{}}
	direct, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres", postgres.port))
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close(t.Context())
	for i := range uint64(n) {
		s := stampede{rand.New(rand.NewPCG(seed+i, 12))}
		a := s.run(t, w)
		var left int
		if err := direct.QueryRow(t.Context(), "select count(*) from prey").Scan(&left); err != nil || left != 1 {
			t.Fatalf("seed %d got the prey: %d %v", seed+i, left, err)
		}
		if leaksIn(t, fmt.Sprint("seed ", seed+i), strings.ToValidUTF8(a.got.String(), "?")); t.Failed() {
			return
		}
	}
	leaksIn(t, "the tape", strings.ToValidUTF8(w.tapes.everything(interceptor.TapeDown), "?"))
}

// A portal that is asked to run again while it copies goes on as it began.
func TestACopyAskedToRunTwiceStaysMasked(t *testing.T) {
	for _, form := range []string{"csv header", "(format binary)"} {
		t.Run(form, func(t *testing.T) {
			w := secretly(t, "redact")
			if _, err := postgres.psql("insert into secrets (id, ssn, name) select i, '713-48-2956', repeat('x', 4000) from generate_series(10, 4000) i"); err != nil {
				t.Fatal(err)
			}
			a := attack(t, w, "")
			a.send(parse("", "copy secrets to stdout "+form), bind("", ""), execute(""), &pgproto3.Flush{})
			time.Sleep(200 * time.Millisecond) // all buffers are full
			a.send(execute(""), &pgproto3.Sync{})
			time.Sleep(100 * time.Millisecond)
			if said := a.until(1); said != " 42501" {
				t.Error("said", said)
			}
			leaksIn(t, "the wire", a.got.String())
		})
	}
}

// pgx ends the data of a COPY that has failed already.
func TestNobodyWaitsForACopyThatIsNone(t *testing.T) {
	filled := "create temp table filled (a int)"
	sync, done := &pgproto3.Sync{}, &pgproto3.CopyDone{}
	for name, c := range map[string]struct {
		pipeline []pgproto3.FrontendMessage
		batches  int
		said     string
	}{
		"an end of data alone":      {[]pgproto3.FrontendMessage{done, simple("select 1")}, 1, ""},
		"an end of data behind all": {[]pgproto3.FrontendMessage{simple("select 1/0"), done, simple("select 1"), simple("select 1")}, 3, " 22012"},
		"a name of its own batch":   {[]pgproto3.FrontendMessage{simple(filled), parse("n", "copy filled from stdin"), bind("", "n"), execute(""), sync, bind("", "n"), sync}, 2, " 08P01 end"},
	} {
		t.Run(name, func(t *testing.T) {
			a := attack(t, secretly(t, "redact"), "")
			a.send(c.pipeline...)
			if said := a.until(c.batches); said != c.said {
				t.Error("said", said)
			}
		})
	}
}
