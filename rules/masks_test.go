package rules

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/rules/detect"
	"github.com/chaperone-dev/chaperone/rules/mask"
)

const masked = `
identities: [{name: bot}, {name: dpo}]
targets:
  - {name: orders, protocol: postgres, addresses: ["10.0.0.1:5432"]}
  - {name: web, protocol: http, addresses: ["10.0.0.1:80"]}
grants: [{identity: bot, target: orders}, {identity: bot, target: web}, {identity: dpo, target: orders}]
masks:
  - {name: pii, target: orders, columns: [public.users.email, users.name, '*.ssn', '"*"."A.b".x'], detect: [jwt], with: token, except: [dpo]}
  - {name: more, target: orders, columns: [users.email], with: "null"}
  - {name: everywhere, target: '*', detect: [iban]}
  - {name: web, target: web, headers: [Set-Cookie], json: ["$.user.email", "$..ssn", "$.items[*].card", "$['a.b'][0]"], with: partial}
`

func TestColumns(t *testing.T) {
	m := parse(t, masked).Masks("bot", "orders")
	for _, c := range []struct {
		schema, table, column string
		want                  mask.Operator
	}{
		{"public", "users", "email", mask.Token},
		{"other", "users", "email", mask.Null},
		{"other", "users", "name", mask.Token},
		{"any", "thing", "ssn", mask.Token},
		{"*", "A.b", "x", mask.Token},
		{"public", "A.b", "x", ""},
		{"public", "users", "id", ""},
		{"public", "Users", "name", ""},
	} {
		with, ok := m.Column(c.schema, c.table, c.column)
		if ok != (c.want != "") || with.Op != c.want {
			t.Errorf("%+v: got %v", c, with)
		}
	}
	if set, with := m.Detectors(); set != detect.JWT|detect.IBAN || with.Op != mask.Redact {
		t.Errorf("two ways for one text: got %v %v", set.Names(), with)
	}
}

func TestMasksOfOthers(t *testing.T) {
	p := parse(t, masked)
	dpo := p.Masks("dpo", "orders")
	if _, ok := dpo.Column("public", "users", "name"); ok {
		t.Error("except does not except")
	}
	if with, _ := dpo.Column("public", "users", "email"); with.Op != mask.Null {
		t.Error("except excepts from other masks")
	}
	web := p.Masks("bot", "web")
	if with, ok := web.Header("set-cookie"); !ok || with.Op != mask.Partial {
		t.Error("the header is not masked")
	}
	want := [][]string{{"user", "email"}, {"**", "ssn"}, {"items", "*", "card"}, {"a.b", "0"}}
	for i, j := range web.JSON() {
		if !reflect.DeepEqual(j.Path, want[i]) {
			t.Errorf("path %v, want %v", j.Path, want[i])
		}
	}
	if none := p.Masks("bot", "nowhere"); none.HasColumns() {
		t.Error("columns of no target")
	}
	if bare := parse(t, base).Masks("bot", "orders"); bare == nil || !bare.Empty() {
		t.Error("no masks are not empty")
	}
}

func TestKeysArePerMaskAndNeverPrinted(t *testing.T) {
	p := parse(t, masked+"  - {name: third, target: orders, columns: [c.d], with: hash}\n")
	m := p.Masks("bot", "orders")
	a, _ := m.Column("public", "users", "email")
	b, _ := m.Column("x", "c", "d")
	if len(a.Key) != 32 || bytes.Equal(a.Key, b.Key) {
		t.Error("two masks share a key")
	}
	again, _ := p.Masks("bot", "orders").Column("public", "users", "email")
	if !bytes.Equal(a.Key, again.Key) {
		t.Error("the key changes from session to session")
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, v := range []any{p, m, a, Options{Key: []byte(strings.Repeat("k", 32))}} {
			s := fmt.Sprintf(format, v)
			if strings.Contains(s, strings.Repeat("k", 8)) || strings.Contains(s, "107, 107") || strings.Contains(s, "107 107") || strings.Contains(s, fmt.Sprint(a.Key)[1:12]) {
				t.Errorf("%s prints a key: %s", format, s)
			}
		}
	}
}

func TestJSONPath(t *testing.T) {
	for in, want := range map[string][]string{
		"$.a": {"a"}, "$..a": {"**", "a"}, "$.a..b": {"a", "**", "b"}, "$[*]": {"*"}, "$.*": {"*"}, "$..*": {"**", "*"}, "$..[0]": {"**", "0"},
		"$['it.s']": {"it.s"}, `$["x"].y`: {"x", "y"}, "$.äö": {"äö"}, "$.a-b": {"a-b"}, "$..['x']": {"**", "x"},
	} {
		got, err := ParsePath(in)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "$", "a", ".a", "$.", "$..", "$a", "$.a.", "$[", "$[a]", "$[-1]", "$[01]", "$[1:2]", "$['a", "$['']", "$['*']", "$[?(@.x)]",
		"$.a b", "$...a", `$.\`, "$..a..b..c..d", "$" + strings.Repeat(".a", 40)} {
		if got, err := ParsePath(bad); err == nil {
			t.Errorf("%q was taken for %q", bad, got)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"$.a", "$.a", true}, {"$.a", "$.a.b", true}, {"$.a.b", "$.a", false}, {"$..b", "$.a.b", true}, {"$..b", "$.b", true},
		{"$..b", "$.a.b.c", true}, {"$..b", "$.a.c", false}, {"$.a[*].c", "$.a[3].c", true}, {"$.a[*].c", "$.a.c", false},
	} {
		pattern, _ := ParsePath(c.pattern)
		path, _ := ParsePath(c.path)
		if got := (JSONMask{Path: pattern}).Covers(path); got != c.want {
			t.Errorf("%s covers %s: %v", c.pattern, c.path, got)
		}
	}
}
