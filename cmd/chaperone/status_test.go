package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/api"
)

func TestAProofRemembersSinceWhenItFails(t *testing.T) {
	first := time.Unix(1700000000, 0)
	p := proof{}.told(nil, first).told(errors.New("lost"), first.Add(time.Minute)).told(errors.New("lost again"), first.Add(2*time.Minute))
	if p.at != first || p.since != first.Add(time.Minute) || p.err != "lost again" {
		t.Errorf("%+v", p)
	}
	if p = p.told(nil, first.Add(time.Hour)); p.err != "" || !p.since.IsZero() || p.at != first.Add(time.Hour) {
		t.Errorf("well again: %+v", p)
	}
}

func TestStatusNamesTheEnrollmentThatFails(t *testing.T) {
	now := time.Now()
	for want, c := range map[string]api.Canary{
		"never verified":    {},
		"verified 1m0s ago": {Verified: now.Add(-time.Minute)},
		"FAILED for /a of bot, since 2m0s ago: lost; verified 1m0s ago":                 {Verified: now.Add(-time.Minute), Failing: 1, Error: "lost", Since: now.Add(-2 * time.Minute), Cgroup: "/a", Identity: "bot"},
		"FAILED for /a of bot, since 2m0s ago: lost; and for 2 more; verified 1m0s ago": {Verified: now.Add(-time.Minute), Failing: 3, Error: "lost", Since: now.Add(-2 * time.Minute), Cgroup: "/a", Identity: "bot"},
	} {
		if got := canary(c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	e := api.Enrollment{Error: "lost", ErrorSince: now, Advisory: "root", Uncovered: 2}
	if got := remarks(e); !strings.HasPrefix(got, "NOT VERIFIED since ") || !strings.Contains(got, "lost; advisory: root; 2 uncovered") {
		t.Errorf("%q", got)
	}
}

// Who may make a cgroup that a selector matches chooses its name; root reads it on a terminal.
func TestCgroupNamesDoNotSteerTheTerminal(t *testing.T) {
	const name = "/jobs/a\x1b[2J\x1b]0;x\x07"
	row := enrolledRow(api.Enrollment{Identity: "bot", Cgroup: name, Source: "cgroup " + name, Error: "enter " + name})
	shown := strings.Join(row, " ") + canary(api.Canary{Failing: 1, Cgroup: name, Error: "enter " + name})
	if strings.ContainsAny(shown, "\x1b\x07") || !strings.Contains(shown, "<U+001B>") {
		t.Errorf("shown as %q", shown)
	}
}
