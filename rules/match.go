package rules

import (
	"fmt"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Match is one selector of an identity: what it names must all hold.
type Match struct {
	Unit   string `json:"unit,omitempty"`   // systemd unit; * and ? stand for parts of it
	Cgroup string `json:"cgroup,omitempty"` // path below the cgroup v2 mount; * within a step, ** any steps
}

// Selects says that a process in this unit and cgroup is meant. A cgroup
// pattern means the cgroup itself and everything below it.
func (m Match) Selects(unit, cgroup string) bool {
	if m == (Match{}) {
		return false
	}
	if m.Unit != "" && (unit == "" || !globs(m.Unit, unit)) {
		return false
	}
	return m.Cgroup == "" || globsSteps(steps(m.Cgroup), steps(cgroup))
}

// IdentityOf finds the identity whose selectors name the process; of several
// the first in the policy.
func (p *Policy) IdentityOf(process *flow.Process) (flow.Identity, bool) {
	for i := range p.identities {
		for _, m := range p.identities[i].Match {
			if m.Selects(process.Unit, process.Cgroup) {
				return p.identities[i].Identity, true
			}
		}
	}
	return flow.Identity{}, false
}

func steps(p string) []string {
	return strings.FieldsFunc(p, func(c rune) bool { return c == '/' })
}

func globs(pattern, s string) bool {
	ok, err := path.Match(pattern, s)
	return ok && err == nil
}

// globsSteps matches pattern against the path or a parent of it. A ** is
// tried at every length, so their number is bounded at load (maxStars).
func globsSteps(pattern, path []string) bool {
	if len(pattern) == 0 {
		return true
	}
	if pattern[0] == "**" {
		for i := 0; i <= len(path); i++ {
			if globsSteps(pattern[1:], path[i:]) {
				return true
			}
		}
		return false
	}
	return len(path) > 0 && globs(pattern[0], path[0]) && globsSteps(pattern[1:], path[1:])
}

const maxStars = 3 // of ** in one pattern

// globWhole says that a step of a pattern is well formed.
func globWhole(step string) bool {
	_, err := path.Match(step, "x")
	return err == nil && (step == "**" || !strings.Contains(step, "**"))
}

// glob reads a pattern with * and ?, and ** in paths.
func (r *reader) glob(into *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		r.text(into)(n)
		bad := strings.Count(*into, "**") > maxStars
		for _, step := range steps(*into) {
			bad = bad || step == ".." || step == "." || !globWhole(step)
		}
		if bad || *into == "" {
			r.wrong(n, fmt.Sprintf("%q is not a pattern", clip(*into)), "* and ? within a step, ** for any steps, at most three times")
			return
		}
		if strings.Trim(*into, "/*?") == "" {
			r.wrong(n, fmt.Sprintf("pattern %q selects everything", clip(*into)), "name a part of it")
		}
	}
}
