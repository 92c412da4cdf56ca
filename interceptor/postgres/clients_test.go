package postgres

import (
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor"
)

func TestPsqlIsServedUnderEveryLogin(t *testing.T) {
	w := watch(t, "full", "")
	for _, user := range []string{"postgres", "scram", "md5", "plain"} {
		out, err := w.run("psql", "-X", "-At", w.url(user), "-c", "select count(*) from plain")
		if err != nil || strings.TrimSpace(out) != "1000" {
			t.Errorf("%s: %v: %q", user, err, out)
		}
	}
	up := w.tapes.everything(interceptor.TapeUp)
	if strings.Contains(up, "geheim") || !strings.Contains(up, "select count(*) from plain") {
		t.Errorf("the tape holds a password or lacks the statement: %q", up)
	}
}

func TestRefusalLeavesTheSessionUsable(t *testing.T) {
	w := watch(t, "full", "")
	out, err := w.run("psql", "-X", "-At", w.url("postgres"), "-v", "VERBOSITY=verbose",
		"-c", "select 1", "-c", "truncate plain", "-c", "select 2", "-c", "begin", "-c", "truncate plain", "-c", "select 3", "-c", "rollback", "-c", "select count(*) from plain")
	t.Log(out, err)
	for _, want := range []string{"42501: chaperone refused", "no-truncate", "ask the on-call DBA", "\n2\n", "25P02", "ROLLBACK\n1000"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}
