package rules

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

const policies = "../testdata/policies/"

func file(t testing.TB, name string) File {
	t.Helper()
	data, err := os.ReadFile(policies + name)
	if err != nil {
		t.Fatal(err)
	}
	return File{name, data}
}

func TestContractPolicyPassesItsFixture(t *testing.T) {
	p := parse(t, string(file(t, "contract.yaml").Data))
	f, err := ParseFixture(file(t, "contract.test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	results := Test(p, f, nil, noon)
	if len(results) != 9 {
		t.Errorf("%d results", len(results))
	}
	for _, r := range results {
		if !r.Passed() {
			t.Errorf("%s: %s: %v\n%+v", r.Place, r.Name, r.Wrong, r.Explanation)
		}
	}
}

func TestFixtureSaysWhatIsWrong(t *testing.T) {
	p := parse(t, example)
	f, err := ParseFixture(File{"x.test.yaml", []byte(`
tests:
  - {name: a, identity: billing-bot, target: orders, request: {text: DROP}, expect: {verdict: allow, rule: x, approvers: [y], masked: [a.b.c], clear: [public.users.email]}}
  - {name: b, identity: nobody, target: orders, request: {text: x}, expect: {verdict: allow}}
`)})
	if err != nil {
		t.Fatal(err)
	}
	drop := func(text string) ([]flow.Effect, error) { return []flow.Effect{{Action: strings.ToLower(text)}}, nil }
	got := Test(p, f, drop, noon)
	want := []string{"verdict is hold, expected allow", `rule is "destructive-needs-a-person", expected "x"`, "approvers are [dba], expected [y]",
		"a.b.c is not masked", "public.users.email is masked"}
	if strings.Join(got[0].Wrong, "\n") != strings.Join(want, "\n") || got[0].Place != "x.test.yaml:3" {
		t.Errorf("%s %q", got[0].Place, got[0].Wrong)
	}
	if got[1].Passed() {
		t.Error("nobody passed")
	}
	broken := func(string) ([]flow.Effect, error) { return nil, errors.New("no child") }
	if r := Test(p, f, broken, noon)[0]; r.Explanation.Verdict != flow.Deny {
		t.Errorf("a statement that cannot be read: %s", r.Explanation.Verdict)
	}
}

func TestFixtureComplaints(t *testing.T) {
	for text, want := range map[string]string{
		"tests: []":          "proves nothing",
		"tests: [{nam: x}]":  `unknown field "nam"`,
		"tests: [{name: x}]": "a test without expect",
		"tests: [{name: x, identity: a, target: b, request: {}, expect: {}}]":                                       "expects nothing",
		"tests: [{name: x, identity: a, target: b, request: {effects: [{action: dorp}]}, expect: {verdict: hold}}]": `unknown action "dorp"`,
		"tests: [{name: x, identity: a, target: b, request: {}, expect: {masked: [ssn]}}]":                          "parts",
		"tests: [{name: x, identity: a, target: b, request: {}, expect: {masked: ['detect:x']}}]":                   "unknown detector",
	} {
		if _, err := ParseFixture(File{"f", []byte(text)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestExplain(t *testing.T) {
	p := parse(t, example)
	e := p.Explain(input(t, p, does(flow.Drop)))
	if e.Verdict != flow.Hold || e.Rules[0].Outcome != Matched || e.Rules[1].Outcome != Unreached || e.Rules[0].Place != "policy.yaml:23" {
		t.Errorf("%+v", e)
	}
	if e.Grant != "granted" || len(e.Masks) != 1 || strings.Join(e.Masks[0].Columns, " ") != "public.users.email *.ssn" || e.Masks[0].With != "partial" {
		t.Errorf("%+v", e)
	}
	e = p.Explain(input(t, p, does(flow.Unknown)))
	if e.Verdict != flow.Deny || e.Rules[0].Outcome != Perhaps || e.Rules[1].Outcome != Perhaps {
		t.Errorf("%+v", e)
	}
	late := input(t, p, does(flow.Read))
	late.Now = noon.AddDate(5, 0, 0)
	if e = p.Explain(late); e.Verdict != flow.Deny || e.Grant != ErrExpired.Error() {
		t.Errorf("%+v", e)
	}
	if e = p.Explain(Input{}); e.Verdict != flow.Deny {
		t.Errorf("%+v", e)
	}
}
