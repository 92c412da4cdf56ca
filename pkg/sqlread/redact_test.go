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

func TestProgramsOfCopyAreHidden(t *testing.T) {
	for text, want := range map[string]string{
		`COPY t FROM PROGRAM 'curl -u u:hunter2 http://x/y'`:                      `COPY t FROM PROGRAM 'curl [redacted]'`,
		`copy (select 1) to /* c */ program E'curl -u u:hunter2\n' with csv`:      `copy (select 1) to /* c */ program E'curl [redacted]' with csv`,
		`COPY t TO PROGRAM $x$TOKEN=hunter2 sh -c ''$x$; select 'shown'`:          `COPY t TO PROGRAM $x$[redacted]$x$; select 'shown'`,
		"COPY t FROM PROGRAM 'cat '\n'hunter2 it'":                                "COPY t FROM PROGRAM 'cat [redacted]'\n'[redacted]'",
		`COPY t FROM PROGRAM '/usr/bin/feed'`:                                     `COPY t FROM PROGRAM '/usr/bin/feed'`,
		`DO $$ BEGIN COPY t FROM PROGRAM 'curl hunter2'; END $$`:                  `DO $$ BEGIN COPY t FROM PROGRAM 'curl [redacted]'; END $$`,
		`DO $$ BEGIN EXECUTE 'copy t from program ''curl hunter2'''; END $$`:      `DO $$ BEGIN EXECUTE 'copy t from program***'; END $$`,
		`select format('COPY t FROM PROGRAM %L', 'curl hunter2')`:                 `select format('COPY t FROM PROGRAM %L', '***')`,
		`select format('COPY %I FROM PROGRAM %L csv', 't', 'curl hunter2')`:       `select format('COPY %I FROM PROGRAM %L csv', '***', '***')`,
		`do $$begin execute 'copy t to program ''' || 'curl hunter2'''; end$$`:    `do $$begin execute 'copy t to program***' || '***'; end$$`,
		`select program, 'hunter3 is shown' from copy`:                            `select program, 'hunter3 is shown' from copy`,
		`insert into program values ('a b'); comment on table copy is 'a b'`:      `insert into program values ('a b'); comment on table copy is 'a b'`,
		`COPY t FROM PROGRAM 'curl -u u:hunter2`:                                  `COPY t FROM PROGRAM ***`,
		`select 'copy' as a; select 'a program of events' as b; select 'c d'`:     `select 'copy' as a; select 'a program of events' as b; select 'c d'`,
		`/* x */ COPY t FROM PROGRAM U&'curl \0068unter2' UESCAPE '\' ; select 1`: `/* x */ COPY t FROM PROGRAM U&'curl [redacted]' UESCAPE '\' ; select 1`,
	} {
		if got := Redact(text); got != want {
			t.Errorf("%s\nbecame %s\nwant   %s", text, got, want)
		}
	}
}
