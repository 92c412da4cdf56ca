package sqlread

import (
	"strings"
	"testing"
)

func TestSecretsJoinedByTheStatementAreHidden(t *testing.T) {
	for _, text := range []string{
		`do $$begin execute 'alter role app password ' || quote_literal('hunter2'); end$$`,
		`select 'host=h password=' || 'hunter2'`,
		`select concat('alter role app password ''', 'hunter2', '''')`,
		`select format('%s %s', 'PASSWORD ', 'hunter2')`,
		`set app.api_token = 'hunter2'`,
	} {
		if got := Redact(text); strings.Contains(got, "hunter2") {
			t.Errorf("%s became %s", text, got)
		}
	}
}

func TestWhatFollowsASecretStatementIsShown(t *testing.T) {
	text := `select 'password ' || 'hunter2'; drop table "x"; select 'shown'`
	if got := Redact(text); strings.Contains(got, "hunter2") || !strings.Contains(got, "'shown'") {
		t.Errorf("got %s", got)
	}
}
