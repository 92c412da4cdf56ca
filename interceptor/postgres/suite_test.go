package postgres

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/protocoltest"
)

// suite is sessions that have logged in.
func suite() protocoltest.Case {
	up, down := protocoltest.Up, protocoltest.Down
	extended := message('P', "\x00select word from plain\x00\x00\x00") + message('B', "\x00\x00\x00\x00\x00\x00\x00\x00") +
		message('D', "P\x00") + message('E', "\x00\x00\x00\x00\x00") + message('S', "")
	answer := message('1', "") + message('2', "") + oneRow + row + message('C', "SELECT 1\x00") + message('Z', "I")
	copied := message('d', "1\tx\n") + message('d', "2\ty\n")
	end := message('C', "COPY 2\x00") + message('Z', "I")
	stands := message('P', "chaperone_"+strings.Repeat("0", 24)+"\x00"+"chaperone refused this statement (no)\x00\x00\x00")
	refused := []byte(message('Q', "chaperone refused this statement (no)\x00"))
	return protocoltest.Case{
		Engine: func(s *interceptor.Session) interceptor.Engine {
			e := freshIn(s)
			e.generation = func() uint64 { return 0 } // as protocoltest's answers have it
			for dir, said := range []string{interceptor.Up: "", interceptor.Down: loginDown} {
				var out interceptor.Output
				if n, err := e.Feed(interceptor.Direction(dir), []byte(said), &out); err != nil || n != len(said) {
					panic("the login is not understood")
				}
			}
			return e
		},
		Normal: func(_ interceptor.Direction, written []byte) []byte { return blur(written) },
		Conversations: []protocoltest.Conversation{
			{Name: "simple", Questions: 1, Loop: true, DeniedUp: refused, Steps: []protocoltest.Step{
				up(message('Q', "select word from plain\x00")), down(oneRow + row + message('C', "SELECT 1\x00") + message('Z', "I")),
			}},
			{Name: "extended", Loop: true, Up: []byte(extended), Down: []byte(answer), DeniedUp: []byte(stands + message('S', "")), Steps: []protocoltest.Step{up(extended), down(answer)}},
			{Name: "pipeline", DeniedUp: []byte(strings.Repeat(stands+message('S', ""), 3)), Steps: []protocoltest.Step{
				up(strings.Repeat(extended, 3)), down(strings.Repeat(answer, 3)),
			}},
			{Name: "copy in", Questions: 1, DeniedUp: refused, Steps: []protocoltest.Step{
				up(message('Q', "copy plain from stdin\x00")), down(message('G', "\x00\x00\x00")), up(copied + message('c', "")), down(end),
			}},
			{Name: "copy out", Questions: 1, Loop: true, DeniedUp: refused, Steps: []protocoltest.Step{
				up(message('Q', "copy plain to stdout\x00")), down(message('H', "\x00\x00\x00") + copied + message('c', "") + end),
			}},
			{Name: "an error of the server's", Questions: 1, DeniedUp: refused, Steps: []protocoltest.Step{
				up(message('Q', "select nothing\x00")), down(failedDown),
			}},
			{Name: "notices and settings", Questions: 1, Loop: true, DeniedUp: refused, Steps: []protocoltest.Step{
				up(message('Q', "set application_name to 'x'\x00")),
				down(message('S', "application_name\x00x\x00") + message('N', "SNOTICE\x00VNOTICE\x00C00000\x00Mhello\x00\x00") + message('C', "SET\x00") + message('Z', "I")),
			}},
			{Name: "large both ways", Questions: 1, DeniedUp: refused, Steps: []protocoltest.Step{
				up(message('Q', "select '"+strings.Repeat("x", 200<<10)+"'\x00")),
				down(oneRow + message('D', "\x00\x01\x00\x04\x00\x00"+strings.Repeat("y", 256<<10)) + message('C', "SELECT 1\x00") + message('Z', "I")),
			}},
		},
	}
}

func TestConformance(t *testing.T) { protocoltest.Run(t, suite().With(captured(t))) }

func FuzzConversations(f *testing.F) { protocoltest.Fuzz(f, suite().With(captured(f))) }

// captured are the captures. What goes up when all is denied is not known of them.
func captured(t testing.TB) []protocoltest.Conversation {
	talks := protocoltest.Captures(t, "postgres")
	for i := range talks {
		talks[i].DeniedAnyhow = true
	}
	return talks
}

// TestCaptures holds the conversations of testdata/captures/postgres with real clients.
func TestCaptures(t *testing.T) {
	w := watch(t, "full", "-")
	for name, command := range map[string][]string{
		"psql": {"psql", "-X", w.url("postgres"), "-c", "create temp table c (i int, w text)", "-c", `\copy c from program 'printf "1\tone\n2\ttwo\n"'`,
			"-c", "select * from c; select count(*) from c", "-c", "select 1/0", "-c", `\copy (select * from c) to stdout with csv`, "-c", "listen n", "-c", "notify n, 'x'",
			"-c", "begin", "-c", "declare cu cursor for select * from c", "-c", "fetch 1 from cu", "-c", "commit"},
		"pgbench": {"pgbench", "-n", "-t", "2", "-M", "prepared", "-f", "/dev/stdin", w.url("postgres")},
	} {
		before := len(w.tapes.sessions())
		out, err := w.feed("select word from plain where id = 7;\n", command[0], command[1:]...)
		if err != nil && name != "psql" { // one of its statements fails, as it is meant to
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		keep(t, w, name, before)
	}
	before := len(w.tapes.sessions())
	c := connect(t, w, "postgres")
	batch := &pgx.Batch{}
	batch.Queue("select word from plain where id = $1", 1)
	batch.Queue("select id, word from plain where id < $1 order by 1", 4)
	batch.Queue("select 1 / $1::int", 0)
	if err := c.SendBatch(t.Context(), batch).Close(); code(err) != "22012" {
		t.Error(err)
	}
	if err := c.Close(context.Background()); err != nil {
		t.Error(err)
	}
	keep(t, w, "pgx", before)
}

// keep keeps the longest session since before as a capture: clients try other ways in first.
func keep(t *testing.T, w *watched, name string, before int) {
	t.Helper()
	var entries []protocoltest.Entry
	for _, one := range w.tapes.sessions()[before:] {
		for wait := 0; !one.over(); wait++ {
			if wait == 200 {
				t.Fatalf("%s: its session does not end", name)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if len(one.entries) <= len(entries) {
			continue
		}
		entries = nil
		for _, e := range one.entries {
			entries = append(entries, protocoltest.Entry{Kind: e.kind, Body: e.body})
		}
	}
	if len(entries) < 4 {
		t.Errorf("%s said next to nothing", name)
	}
	protocoltest.KeepCapture(t, "postgres", name, entries)
}
