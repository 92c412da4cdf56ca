package postgres

import (
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor"
)

// shift is a table whose first column holds a character that ends in "|" in SJIS.
const shift = `drop table if exists shifts; create table shifts (a text, ssn text, z text);
insert into shifts values (U&'n\8868', '713-48-2956', U&'z\30DD')`

func TestCopyFieldsAreWhereTheServerEndsThem(t *testing.T) {
	w := watch(t, "full", "-masks: [{name: pii, target: db, columns: [shifts.ssn], with: redact}]\n")
	if _, err := postgres.psql(shift); err != nil {
		t.Fatal(err)
	}
	for option, shown := range map[string]bool{
		"delimiter '|', encoding 'SJIS'":           false,
		"delimiter '|', encoding 'win-932'":        false,
		"delimiter '|', encoding sjis, format csv": false,
		"delimiter '|', encoding 'UTF8'":           true,
		"delimiter '|', encoding 'utf_8'":          true,
		"format csv, delimiter 7":                  true,
		"format csv, delimiter *":                  true,
		"format csv, quote 1, delimiter 7":         true,
	} {
		out, err := w.run("psql", "-X", "-At", w.url("postgres"), "-c", "copy shifts to stdout ("+option+")")
		leaksIn(t, option, out)
		if got := err == nil && strings.Contains(out, "[masked]"); got != shown {
			t.Errorf("%s: %v: %s", option, err, out)
		}
	}
	leaksIn(t, "the tape", w.tapes.everything(interceptor.TapeDown))
}
