package rules

import (
	"os"
	"strings"
	"testing"
)

// docs/policy.md shows one policy, a section at a time: joined together its blocks load,
// and so do its tests.
func TestTheManualsPolicyLoads(t *testing.T) {
	page, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	policy, fixture := "", ""
	for _, part := range strings.Split(string(page), "\n```yaml\n")[1:] {
		block, _, _ := strings.Cut(part, "\n```")
		if strings.HasPrefix(block, "tests:") {
			fixture = block
			continue
		}
		policy += block + "\n"
	}
	p := parse(t, policy)
	if len(p.identities)*len(p.targets)*len(p.grants)*len(p.rules)*len(p.masks)*len(p.people) == 0 {
		t.Errorf("a section is empty: %v", p)
	}
	if _, err := ParseFixture(File{"policy.test.yaml", []byte(fixture)}); err != nil {
		t.Error(err)
	}
}
