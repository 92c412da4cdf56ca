package main

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor/postgres"
	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// printed is what f writes to the standard output.
func printed(t *testing.T, f func() error) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stdout := os.Stdout
	os.Stdout = w
	err = f()
	os.Stdout = stdout
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r) // all of it fits into the pipe
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestListingsInEveryFormat(t *testing.T) {
	type row struct {
		Name string `json:"name"`
		Many int    `json:"how_many"`
	}
	full := listing{Header: []string{"NAME", "MANY"}, Rows: [][]string{{"bot", "3"}}, Values: []row{{"bot", 3}}}
	for name, test := range map[string]struct {
		format string
		l      listing
		want   string
	}{
		"table":      {"table", full, "NAME  MANY\nbot   3\n"},
		"json":       {"json", full, "[\n  {\n    \"name\": \"bot\",\n    \"how_many\": 3\n  }\n]\n"},
		"yaml":       {"yaml", full, "- how_many: 3\n  name: bot\n"},
		"empty json": {"json", listing{Values: []row(nil)}, "[]\n"},
		"empty yaml": {"yaml", listing{Values: []row(nil)}, "[]\n"},
	} {
		if got := printed(t, func() error { return show(test.format, test.l) }); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if err := show("xml", full); err == nil || codeFor(nil, err) != exitUsage {
		t.Errorf("xml: %v", err)
	}
}

func TestWhatTheSubagentWroteDoesNotSteerTheTerminal(t *testing.T) {
	line := oneLine("drop\ttable\n\x1b[2Jusers\x07\u202e", 60)
	if strings.ContainsAny(line, "\x1b\x07\n\u202e") || !strings.HasPrefix(line, "drop table ") {
		t.Errorf("%q", line)
	}
	if long := oneLine(strings.Repeat("ü", 100), 10); long != strings.Repeat("ü", 9)+"…" {
		t.Errorf("%q", long)
	}
	x := exchange{Request: "select \x1b]0;title\x07", Columns: []string{"a\x1b[1m"}, Rows: [][]postgres.RenderedValue{{{Text: "b\x1b[2J"}}}, Notices: []string{"\x1b"}, Outcome: "SELECT\x1b 1"}
	var out strings.Builder
	if err := x.print(&out, shortRows); err != nil || strings.ContainsAny(out.String(), "\x1b\x07") {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestAnIdentityExpiresAsItsLastDayEnds(t *testing.T) {
	end := time.Date(2027, 7, 1, 0, 0, 0, 0, time.UTC)
	for want, i := range map[string]api.Identity{
		"never":              {},
		"2027-06-30":         {Identity: flow.Identity{Expires: end}},
		"expired 2027-06-30": {Identity: flow.Identity{Expires: end}, Expired: true},
	} {
		if got := expiry(i); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
