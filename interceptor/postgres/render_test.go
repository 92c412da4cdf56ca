package postgres

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/jackc/pgx/v5"
)

func rendered(t *testing.T, w *watched) []Rendered {
	t.Helper()
	var all []Rendered
	for _, one := range w.tapes.all {
		r := NewRenderer()
		one.mu.Lock()
		for _, e := range one.entries {
			for i := 0; i < len(e.body); i += 100 { // the cut must not matter
				all = append(all, r.Feed(e.kind, e.body[i:min(len(e.body), i+100)], e.at)...)
			}
		}
		one.mu.Unlock()
		all = append(all, r.Flush()...)
	}
	return all
}

func TestTapeIsReadBack(t *testing.T) {
	w := watch(t, "full", "")
	c := connect(t, w, "postgres")
	var word string
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		if err := c.QueryRow(t.Context(), "select word from plain where id = $1", mode, 7).Scan(&word); err != nil {
			t.Fatal(err)
		}
	}
	var a, b any
	if err := c.QueryRow(t.Context(), "select 12345.678::numeric, '2020-02-03'::date", pgx.QueryExecModeCacheStatement).Scan(&a, &b); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Exec(t.Context(), "truncate plain")
	_, _ = c.Exec(t.Context(), "select 1; select 1/0", pgx.QueryExecModeSimpleProtocol)
	var lines []string
	for _, r := range rendered(t, w) {
		line := fmt.Sprintf("%v%v%v%v", r.Statement, r.Parameters, r.Rows, r.Tag)
		if r.Error != nil {
			line += r.Error.Code
		}
		lines = append(lines, line)
	}
	got := strings.Join(lines, "\n")
	want := strings.Join([]string{
		"select word from plain where id = $1[7][[word 7]]SELECT 1",
		"select word from plain where id = $1[7][[word 7]]SELECT 1",
		"select word from plain where id =  '7' [][[word 7]]SELECT 1",
		"select 12345.678::numeric, '2020-02-03'::date[][[12345.678 2020-02-03]]SELECT 1",
		"truncate plain[][]42501",
		"select 1; select 1/0[][[1]]SELECT 122012",
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// copyOut is what a server sends for COPY ... TO STDOUT in format 0 (text, csv) or 1 (binary).
func copyOut(format byte, rows ...string) []byte {
	b := []byte{'H', 0, 0, 0, 7, format, 0, 0}
	for _, row := range rows {
		var at int
		b, at = wire.Begin(b, 'd')
		b = wire.End(append(b, row...), at)
	}
	return append(b, "c\x00\x00\x00\x04C\x00\x00\x00\x0bCOPY 2\x00Z\x00\x00\x00\x05I"...)
}

func TestCopiedRowsAreLines(t *testing.T) {
	for name, test := range map[string]struct {
		format byte
		want   string
	}{"text": {0, "[1\ta 2\tb]"}, "binary": {1, "[]"}} {
		r := NewRenderer()
		r.Feed(interceptor.TapeUp, []byte("Q\x00\x00\x00\x17copy t to stdout;;;\x00"), epoch())
		got := r.Feed(interceptor.TapeDown, copyOut(test.format, "1\ta\n", "2\tb\n"), epoch())
		if len(got) != 1 || fmt.Sprint(got[0].Lines) != test.want || got[0].Copied != 8 || got[0].Tag != "COPY 2" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// copyIn is what a client sends for COPY ... FROM STDIN, in pieces of a few bytes.
func copyIn(text string) []byte {
	var b []byte
	for i := 0; i < len(text); i += 3 {
		var at int
		b, at = wire.Begin(b, 'd')
		b = wire.End(append(b, text[i:min(len(text), i+3)]...), at)
	}
	return append(b, "c\x00\x00\x00\x04"...)
}

func TestRowsThatAreCopiedInAreLines(t *testing.T) {
	asked, wants := "Q\x00\x00\x00\x17copy t from stdin;\x00", "G\x00\x00\x00\x07%c\x00\x00"
	done := []byte("C\x00\x00\x00\x0bCOPY 2\x00Z\x00\x00\x00\x05I")
	for name, test := range map[string]struct {
		format byte
		want   string
	}{"text": {0, "[1\ta 22\tb]"}, "binary": {1, "[]"}} {
		r := NewRenderer()
		r.Feed(interceptor.TapeUp, []byte(asked), epoch())
		r.Feed(interceptor.TapeDown, fmt.Appendf(nil, wants, test.format), epoch())
		r.Feed(interceptor.TapeUp, copyIn("1\ta\n22\tb"), epoch())
		got := r.Feed(interceptor.TapeDown, done, epoch())
		if len(got) != 1 || fmt.Sprint(got[0].Sent) != test.want || got[0].Copied != 8 || got[0].Tag != "COPY 2" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	r := NewRenderer()
	r.Feed(interceptor.TapeUp, []byte(asked), epoch())
	r.Feed(interceptor.TapeDown, fmt.Appendf(nil, wants, 0), epoch())
	r.Feed(interceptor.TapeUp, copyIn(strings.Repeat("x\n", renderRows+5)), epoch())
	if got := r.Feed(interceptor.TapeDown, done, epoch()); len(got) != 1 || len(got[0].Sent) != renderRows || got[0].SentMore != 5 {
		t.Errorf("many: %d", len(got))
	}
}

func TestNullIsNotTheTextNull(t *testing.T) {
	text, err := json.Marshal([]RenderedValue{rendering(nil, 0, false), rendering([]byte("NULL"), 0, false)})
	if err != nil || string(text) != `[null,"NULL"]` {
		t.Errorf("%s, %v", text, err)
	}
}

func TestALongResultIsGivenInPiecesOrCounted(t *testing.T) {
	rows := make([]string, 2*renderRows+5)
	for i := range rows {
		rows[i] = "x\n"
	}
	for _, split := range []bool{false, true} {
		r := NewRenderer()
		r.Split = split
		r.Feed(interceptor.TapeUp, []byte("Q\x00\x00\x00\x17copy t to stdout;;;\x00"), epoch())
		got := r.Feed(interceptor.TapeDown, copyOut(0, rows...), epoch())
		lines := 0
		for i, one := range got {
			lines += len(one.Lines) + one.More
			if one.Continued != (i < len(got)-1) {
				t.Errorf("piece %d of %d: continued %v", i, len(got), one.Continued)
			}
		}
		if lines != len(rows) || split != (len(got) == 3) || !split && got[0].More != renderRows+5 {
			t.Errorf("split %v: %d pieces, %d lines", split, len(got), lines)
		}
	}
}

func FuzzRenderer(f *testing.F) {
	for _, turn := range conversation {
		f.Add([]byte(turn[0]), []byte(turn[1]))
	}
	f.Fuzz(func(t *testing.T, up, down []byte) {
		r := NewRenderer()
		r.Feed(2, up, epoch())
		r.Feed(3, down, epoch())
		r.Flush()
		if len(r.pending) != 0 {
			t.Error("something is left after Flush")
		}
	})
}
