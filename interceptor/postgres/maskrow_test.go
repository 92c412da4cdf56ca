package postgres

import (
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/rules/detect"
)

func dataRow(values ...string) []byte {
	m, at := wire.Begin(nil, 'D')
	m = append(m, 0, byte(len(values)))
	for _, v := range values {
		if v == "NULL" {
			m = append(m, 0xff, 0xff, 0xff, 0xff)
			continue
		}
		m = append(append(m, 0, 0, 0, byte(len(v))), v...)
	}
	return wire.End(m, at)
}

func TestRowsAreMaskedInPlaceOrRebuilt(t *testing.T) {
	text := column{oid: oidText}
	partial := column{oid: oidText, action: masked, with: theMask("partial")}
	redact := column{oid: oidText, action: masked}
	found := column{oid: oidText, action: detected, set: detect.Email}
	for _, c := range []struct {
		name     string
		columns  []column
		row      []byte
		want     []byte
		hidden   int
		inPlace  bool
		rejected bool
	}{
		{"nothing to hide", []column{text, found}, dataRow("a", "b"), dataRow("a", "b"), 0, true, false},
		{"the same length", []column{text, partial, text}, dataRow("a", "713-48-2956", "c"), dataRow("a", "***-**-2956", "c"), 1, true, false},
		{"longer", []column{text, redact, text}, dataRow("a", "b", "c"), dataRow("a", "[masked]", "c"), 1, false, false},
		{"shorter, then the same, then longer", []column{redact, text, partial, redact, text}, dataRow("long, and longer", "x", "713-48-2956", "", "y"),
			dataRow("[masked]", "x", "***-**-2956", "[masked]", "y"), 3, false, false},
		{"NULL stays", []column{redact, partial, text}, dataRow("NULL", "NULL", "NULL"), dataRow("NULL", "NULL", "NULL"), 0, true, false},
		{"found", []column{found, text}, dataRow("to jo@a.com", "x"), dataRow("to [masked]", "x"), 1, true, false},
		{"found, last", []column{text, found}, dataRow("x", "jo@abcd.com, jo@abcd.com"), dataRow("x", "[masked], [masked]"), 2, false, false},
		{"too few fields", []column{text, redact}, dataRow("a"), nil, 0, false, true},
		{"bytes behind", []column{redact}, append(dataRow("a"), 0), nil, 1, false, true},
		{"a length that is not there", []column{redact}, dataRow("a")[:11], nil, 0, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := rowsEngine()
			out, ok := e.maskValues(&plan{columns: c.columns}, c.row)
			if ok == c.rejected {
				t.Fatal(ok)
			}
			if c.rejected {
				return
			}
			if (out == nil) != c.inPlace {
				t.Errorf("in place: %v", out == nil)
			}
			if out == nil {
				out = c.row
			}
			if string(out) != string(c.want) || e.hidden != c.hidden {
				t.Errorf("%d hidden in %q, want %d in %q", e.hidden, out, c.hidden, c.want)
			}
		})
	}
}
