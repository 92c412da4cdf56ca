package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// Which of these texts say the same under any setting that may have changed.
func TestDoubtsAboutATextWhoseSettingsAreNotKnown(t *testing.T) {
	for text, certain := range map[string]bool{
		`select 'plain'`:                                   true,
		`select 'a\b', 'c:\dir\'''`:                        false,
		`select 'a\b'`:                                     true,
		`select 'a\\'`:                                     true,
		`select 'a\'`:                                      false,
		`select 'a\' as b -- '`:                            false,
		`select '\\\' , '; drop table prey; --'`:           false,
		`select E'a\'b', 1`:                                true,
		"select E'a'\n'\\' , '; drop table prey; --'":      false,
		`select e'\\', 'x' from t where a ~ '^\d+$'`:       true,
		`select $a$ \' $a$, $$ \ $$`:                       true,
		`select "\", 1`:                                    true,
		`select 1 /* \' */ -- \'`:                          true,
		`select 1e'\', '; drop table prey; --'`:            false,
		`select 1$$\' $$`:                                  false,
		`select 'a' like '\%'`:                             true,
		`do $$ begin perform '\'; perform ' --'; end $$`:   false,
		`do E'begin perform \'\\\\\'; end'`:                false,
		`set role '\141dmin'`:                              true, // roles are not told apart
		`select nextval('\141')`:                           false,
		`copy plain to program '\141'`:                     true, // nor are commands
		`insert into plain values (1, 'Müller'), (2, 'é')`: true,
		`insert into plain values (1, 'é\')`:               false,
		`insert into plain values (1, 'é\d')`:              false,
		`insert into plain values (1, E'é\\')`:             false,
		`select 1 as é`:                                    false,
		`select 1 as "é"`:                                  false,
		`select $é$ x $é$`:                                 false,
		`select 1 -- é`:                                    true,
		`select nextval('é')`:                              false,
		`select 'open`:                                     false,
	} {
		l := lexing{tuned: true}
		d := l.doubt([]byte(text))
		r, err := sqlread.Local{}.Read(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		why, err := d.dispel(context.Background(), sqlread.Local{}, r)
		if err != nil || (why == "" && r.Unread == "") != certain {
			t.Errorf("%s: %q %v (as %q)", text, why, err, d.otherwise)
		}
	}
}

// The encodings a client may choose that a server cannot have: no character of theirs that can be
// converted ends in a byte below 0x30. So none has a quote in it.
func TestNoCharacterEndsInAQuote(t *testing.T) {
	const count = `create function pg_temp.n(e text) returns text language plpgsql as $$
declare least int := 255;
begin
	for a in 128..255 loop for b in 1..126 loop
		begin
			if length(convert_from(decode(lpad(to_hex(a), 2, '0') || lpad(to_hex(b), 2, '0'), 'hex'), e)) = 1 then
				least := least(least, b);
			end if;
		exception when others then null;
		end;
	end loop; end loop;
	return least;
end $$;`
	for _, encoding := range []string{"SJIS", "BIG5", "GBK", "UHC", "JOHAB", "SHIFT_JIS_2004", "GB18030"} {
		if out, err := postgres.psql(count + "select pg_temp.n('" + encoding + "')"); err != nil || len(out) < 3 || out < "48" && len(out) == 3 {
			t.Errorf("%s: %q %v", encoding, out, err)
		}
	}
}

// The server tells of settings before ReadyForQuery only, so what it answers a Flush with says nothing.
func TestTextsBehindAFlushAreReadUnderAnySetting(t *testing.T) {
	const off = "-c standard_conforming_strings=off"
	flush := &pgproto3.Flush{}
	for _, c := range []struct {
		name, options string
		before        []string
		ends, evil    string
	}{
		{"COMMIT of SET LOCAL", off, []string{"begin", "set local standard_conforming_strings = on"}, "commit", evilQuoted},
		{"ROLLBACK", off, []string{"begin", "set standard_conforming_strings = on"}, "rollback", evilQuoted},
		{"COMMIT of an encoding", "-c client_encoding=GBK", []string{"begin", "set local client_encoding = UTF8"}, "commit",
			"select 'ç\\', '; drop table prey; --'"},
		{"a function", "", []string{"create or replace function tunes() returns text language sql as $$ select set_config('standard_conforming_strings', 'off', false) $$"},
			"select tunes()", evilQuoted},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := watch(t, "full", "")
			w.deny(5)
			p, a := hunt(t, w), attack(t, w, c.options)
			a.does(c.before...)
			a.send(parse("", c.ends), bind("", ""), execute(""), flush)
			a.completed()
			a.send(parse("", c.evil), bind("", ""), execute(""), &pgproto3.Sync{})
			if said := a.until(1); said != " 42501" {
				t.Error("said", said)
			}
			p.survived(c.evil, 0)
		})
	}
}

// completed reads to the end of one Execute.
func (a *attacker) completed() {
	a.t.Helper()
	for {
		m, err := a.wire.Receive()
		if err != nil {
			a.t.Fatal(err)
		}
		if _, done := m.(*pgproto3.CommandComplete); done {
			return
		}
	}
}

// What JDBC's executeBatch and every pipeline sends: more texts behind one that runs.
func TestPipelinesMayHoldUmlautsAndBackslashes(t *testing.T) {
	w := watch(t, "full", "")
	a := attack(t, w, "")
	var batch []pgproto3.FrontendMessage
	for _, text := range []string{"create temp table b (i int, t text)", "insert into b values (1, 'plain')", "insert into b values (2, 'üml')", `insert into b values (3, 'a\b')`,
		"insert into b values (4, 'é')", `insert into b values (5, E'a\\b''')`, `select 7 from b where t ~ '\d' -- é`} {
		batch = append(batch, parse("", text), bind("", ""), shapeOf(""), execute(""))
	}
	a.send(append(batch, &pgproto3.Sync{})...)
	if said := a.until(1); said != "" {
		t.Error("said", said)
	}
	a.does("select string_agg(t, ',' order by i) from b")
	if !strings.Contains(a.got.String(), `plain,üml,a\b,é,a\b'`) {
		t.Error("not all of it arrived as it was sent")
	}
}
