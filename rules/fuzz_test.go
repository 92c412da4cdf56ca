package rules

import (
	"reflect"
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// A policy may be anything: Parse complains or gives a policy that can be used.
func FuzzParse(f *testing.F) {
	f.Add(example)
	f.Add(routes)
	f.Add(masked)
	f.Add(base + "rules: [{name: r, target: '*', when: |-\n  now ==\n  now, verdict: deny}]")
	f.Add("identities: [{name: a, expires: 2027-01-01, match: [{unit: 'a[b]*'}]}]")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse([]File{{"p", []byte(text)}}, Options{Key: []byte(strings.Repeat("k", 32))})
		if (err == nil) != (p != nil) {
			t.Fatalf("policy %v and error %v", p, err)
		}
		if err != nil {
			if strings.Contains(err.Error(), "p:-") || len(err.(Complaints)) > maxComplaints {
				t.Fatal(err)
			}
			return
		}
		p.WithAddresses(nil).Hosts()
		for _, target := range p.Targets() {
			for _, id := range p.Identities() {
				r := does(flow.Unknown)
				d := p.Decide(Input{Identity: &id.Identity, Target: target, Request: &r, Now: noon})
				if d.Verdict == "" {
					t.Fatal("no verdict")
				}
				p.Masks(id.Name, target.Name).Detectors()
				_, _ = p.Grant(id.Name, target.Name, noon)
			}
		}
	})
}

// What is read as a path is written back as the same path.
func FuzzJSONPath(f *testing.F) {
	for _, s := range []string{"$.user.email", "$..ssn", "$.items[*].card", "$['a.b'][0]", `$["it's"]`, "$..*", `$.\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		path, err := ParsePath(s)
		if err != nil {
			return
		}
		again, err := ParsePath(PathString(path))
		if err != nil || !reflect.DeepEqual(path, again) {
			t.Fatalf("%q: %q, written %q, read %q, %v", s, path, PathString(path), again, err)
		}
	})
}

func FuzzFixture(f *testing.F) {
	f.Add("tests: [{name: x, identity: a, target: b, request: {http: {headers: {a: b}}}, expect: {masked: ['json:$.a']}}]")
	f.Fuzz(func(t *testing.T, text string) {
		fixture, err := ParseFixture(File{"f", []byte(text)})
		if (err == nil) != (fixture != nil) {
			t.Fatalf("fixture %v and error %v", fixture, err)
		}
	})
}
