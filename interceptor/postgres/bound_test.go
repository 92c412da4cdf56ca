package postgres

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

func TestParametersAreShownUnmistakably(t *testing.T) {
	for _, c := range []struct {
		value string
		oid   uint32
		bin   bool
		want  string
	}{
		{"42", 0, false, "'42'"},
		{"NULL", 0, false, "'NULL'"},
		{"it's", oidText, false, "'it''s'"},
		{"\x00\x00\x00\x2a", oidInt4, true, "'42'"},
		{"\x00\x00\x00\x2a", 0, true, `'\x0000002a'`},
		{"caf\xe9", oidText, false, `'\x636166e9'`},
		{"caf\xea", oidText, true, `'\x636166ea'`},
		{strings.Repeat("x", maxShown+1), oidText, false, "'" + strings.Repeat("x", maxShown) + "' (1 more bytes, not shown)"},
		{strings.Repeat("x", maxShown-1) + "é", oidText, false, "'" + strings.Repeat("x", maxShown-1) + "' (2 more bytes, not shown)"},
	} {
		if got := shown([]byte(c.value), c.oid, c.bin, false); got != c.want {
			t.Errorf("%q as %d: %.80s, want %.80s", c.value, c.oid, got, c.want)
		}
	}
	if got := shown(nil, oidText, false, true); got != "NULL" {
		t.Error(got)
	}
}

// values is the rest of a Bind with n parameters of the same value, as text.
func values(n int, value string) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(n))
	for range n {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(value))), value...)
	}
	return append(b, 0, 0)
}

func TestManyParametersAreCounted(t *testing.T) {
	b, ok := readBound(&statement{}, values(1000, strings.Repeat("y", 100)))
	if !ok || len(b.shown) > 50 || !strings.HasSuffix(b.shown[len(b.shown)-1], "more parameters, not shown)") {
		t.Fatal(ok, len(b.shown))
	}
	other, _ := readBound(&statement{}, append(values(999, strings.Repeat("y", 100))[:0:0], values(1001, strings.Repeat("y", 100))...))
	if b.sum == other.sum {
		t.Error("what is not shown is not in the fingerprint")
	}
}

func TestFingerprintOfParametersIsOfFormatsAndTypes(t *testing.T) {
	seen := map[string]string{}
	for name, c := range map[string]struct {
		declared string
		body     []byte
	}{
		"text":      {"", values(1, "0001")},
		"another":   {"", values(1, "0002")},
		"two":       {"", values(2, "00")},
		"a NULL":    {"", []byte{0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0}},
		"empty":     {"", values(1, "")},
		"binary":    {"", append([]byte{0, 1, 0, 1}, values(1, "0001")[2:]...)},
		"of a type": {"\x00\x01\x00\x00\x00\x17", values(1, "0001")},
	} {
		b, ok := readBound(&statement{declared: []byte(c.declared)}, c.body)
		if !ok {
			t.Fatal(name)
		}
		if other := seen[fmt.Sprint(b.sum)]; other != "" {
			t.Errorf("%s is %s", name, other)
		}
		seen[fmt.Sprint(b.sum)] = name
	}
}

func FuzzReadBound(f *testing.F) {
	f.Add([]byte{}, values(2, "a"))
	f.Add([]byte{0, 1, 0, 0, 0, 23}, []byte{0, 1, 0, 1, 0, 1, 0, 0, 0, 4, 1, 2, 3, 4, 0, 0})
	f.Fuzz(func(t *testing.T, declared, body []byte) {
		b, ok := readBound(&statement{declared: declared}, body)
		if !ok {
			return
		}
		size := 0
		for _, s := range b.shown {
			size += len(s)
		}
		if size > 8*maxShownAll {
			t.Errorf("%d bytes are shown", size)
		}
	})
}
