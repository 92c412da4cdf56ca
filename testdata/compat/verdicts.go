package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// verdicts is what each test of one run came to: PASS, FAIL or SKIP.
type verdicts struct {
	of     map[string]string
	output string
}

// verdictLine is a test's last line; the marker before it is go test's own.
var verdictLine = regexp.MustCompile(`(?m)(?:^\s*|\x16)--- (PASS|FAIL|SKIP): (\S+) \(`)

// throwAway is a test's own folder, which some carry in their names: it is another in each run.
var throwAway = regexp.MustCompile(`/tmp/[^/]+/\d{3}/`)

func readVerdicts(output string) verdicts {
	v := verdicts{of: map[string]string{}, output: output}
	for _, m := range verdictLine.FindAllStringSubmatch(output, -1) {
		v.of[throwAway.ReplaceAllString(m[2], "DIR/")] = m[1]
	}
	return v
}

func (v verdicts) passed() int {
	n := 0
	for _, verdict := range v.of {
		if verdict == "PASS" {
			n++
		}
	}
	return n
}

// missing lists what passes in base and not here.
func (v verdicts) missing(base verdicts) []string {
	var lost []string
	for name, verdict := range base.of {
		if verdict == "PASS" && v.of[name] != "PASS" {
			lost = append(lost, name)
		}
	}
	slices.Sort(lost)
	return lost
}

// about cuts what a run said of one test.
func (v verdicts) about(name string) string {
	_, rest, found := strings.Cut(v.output, "=== RUN   "+name+"\n")
	if !found {
		return "(it did not run)"
	}
	said, _, _ := strings.Cut(rest, "=== RUN   ")
	return said[:min(len(said), 1500)]
}

// excuses are the differences that have a reason: "PACKAGE TEST: why" per line.
type excuses struct {
	why  map[string]string
	used map[string]bool
}

func readExcuses(path string) (*excuses, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	e := &excuses{why: map[string]string{}, used: map[string]bool{}}
	for i, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		what, why, found := strings.Cut(line, ": ")
		if !found || strings.TrimSpace(why) == "" {
			return nil, fmt.Errorf("%s:%d: no reason given (want PACKAGE TEST: reason)", path, i+1)
		}
		e.why[what] = why
	}
	return e, nil
}

// leave says that a package did not run: its reasons stand.
func (e *excuses) leave(pkg string) {
	for key := range e.why {
		if strings.HasPrefix(key, pkg+" ") {
			e.used[key] = true
		}
	}
}

// judge fails for every lost test without a reason.
func (e *excuses) judge(pkg string, lost []string, watched verdicts) error {
	var errs []error
	for _, name := range lost {
		key := pkg + " " + name
		if e.why[key] == "" {
			errs = append(errs, fmt.Errorf("%s passes straight and not with a chaperone:\n%s", name, watched.about(name)))
			continue
		}
		e.used[key] = true
	}
	return errors.Join(errs...)
}

// atTimes begins the reason of a difference that is a race, and need not show each time.
const atTimes = "at times, "

// unused fails for reasons that nothing needs any more.
func (e *excuses) unused() error {
	var errs []error
	for key := range e.why {
		if !e.used[key] && !strings.HasPrefix(e.why[key], atTimes) {
			errs = append(errs, fmt.Errorf("differences.txt: %s passes now: remove the line", key))
		}
	}
	return errors.Join(errs...)
}
