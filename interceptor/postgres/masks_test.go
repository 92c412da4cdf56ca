package postgres

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/chaperone-dev/chaperone/interceptor"
)

const maskPolicy = `masks:
  - {name: pii, target: db, columns: [secrets.ssn, secrets.pin, secrets.born, secrets.uid, secrets.doc, secrets.raw, secrets.amount, secrets.seen, secrets.tags, secrets.net, secrets.ok], with: %s}
  - {name: found, target: db, detect: [email, credit_card], with: redact}
`

// theSecrets are what must never be seen.
var theSecrets = []string{"713-48-2956", "4711", "1971-03-05", "deadbeef-dead-4eef-8ead-deadbeefdead", "geheimnis", "c0ffee", "8877665544.33", "1999-12-31", "tagged", "10.9.8.7", "jo@example.com", "3132333435"}

const secretsTable = `
drop table if exists secrets cascade; drop table if exists other cascade; drop table if exists late;
create table secrets (id int primary key, name text, ssn varchar(11), pin int, born date, uid uuid, doc jsonb, raw bytea, amount numeric(12,2), seen timestamptz, tags text[], net inet, ok bool);
insert into secrets values (1, 'jo@example.com wrote', '713-48-2956', 4711, '1971-03-05', 'deadbeef-dead-4eef-8ead-deadbeefdead', '{"k":"geheimnis"}', '\xc0ffee3132333435', 8877665544.33, '1999-12-31 10:00+00', '{tagged}', '10.9.8.7', true), (2, 'plain', null, null, null, null, null, null, null, null, null, null, null);
create table other (id int, note text); insert into other values (1, 'note');
create view shows as select id, ssn as x from secrets;
create view innocent as select id, note from other;
create or replace function steals() returns text language sql as 'select ssn from secrets limit 1';
create or replace function harmless(int) returns int language sql as 'select $1';
grant all on all tables in schema public to public;`

func secretly(t *testing.T, with string) *watched {
	t.Helper()
	if _, err := postgres.psql(secretsTable); err != nil {
		t.Fatal(err)
	}
	return watch(t, "full", "-"+fmt.Sprintf(maskPolicy, with))
}

func leaksIn(t *testing.T, what, got string) {
	t.Helper()
	for _, s := range theSecrets {
		if strings.Contains(got, s) {
			t.Errorf("%s: %q leaks in\n%s", what, s, got)
		}
	}
}

var techniques = []string{
	"select * from secrets", "select s from secrets s", "select to_jsonb(s) from secrets s", "select ssn from secrets",
	"select upper(ssn) from secrets", "select x from shows", "select * from shows", "select steals()", "select (select ssn from secrets limit 1)",
	"with a as (select ssn z from secrets) select z from a", "select note from other union all select ssn from secrets",
	"select q.note from (select note from other union all select ssn from secrets) q",
	"select string_agg(ssn, ',') from secrets", "select query_to_xml('select * from secrets', true, true, '')",
	"explain select * from secrets where ssn = '713'", "table secrets", "copy secrets to stdout", "copy secrets to stdout csv header",
	"copy secrets (ssn, id) to stdout", "copy (select ssn from secrets) to stdout", "select ssn::int from secrets where id = 1",
	"do $$ begin raise notice '%', (select ssn from secrets limit 1); end $$", "insert into secrets (id, ssn) select 1, ssn from secrets",
	"do $$ begin raise exception '%', (select ssn from secrets limit 1); end $$",
	"select set_config('application_name', ssn, false) from secrets where id = 1", "select pg_notify('a', ssn) from secrets where id = 1",
	"begin; declare c cursor for select ssn from secrets; fetch all from c; commit",
	"begin; create view late as select ssn as y from secrets; select y from late; rollback",
	"begin; create or replace view innocent as select id, ssn::text as note from secrets; select note from innocent; rollback",
	"begin; create temp table t on commit drop as select ssn as y from secrets; select y from t; commit",
	"begin; alter table secrets rename column ssn to z; select z from secrets; rollback",
	"update secrets set id = id returning ssn", "delete from secrets where id = 99 returning *", "select ssn from only secrets",
	"prepare p as select ssn from secrets; execute p", "select secrets.* from other join secrets using (id)",
	"select max(pin) from secrets", "select count(*), pin from secrets group by pin", "select most_common_vals from pg_stats where tablename='secrets'",
	"select row(ssn) from secrets", "select array_agg(ssn) from secrets", "select * from secrets natural join other", "select a.* from secrets as a(i,b,c,d)",
	"select ssn(secrets) from secrets", "alter table secrets add check (ssn is null)", "insert into secrets(id, ssn) select id, ssn from secrets",
	"select case when ssn like '7%' then 'yes' end from secrets", "copy secrets to stdout (format csv, force_quote *)", "copy secrets to stdout (delimiter '|', null 'x')",
	"do $$ begin raise exception using errcode = '42601', message = (select ssn from secrets limit 1); end $$",
	"do $$ begin raise notice using errcode = '42601', message = (select ssn from secrets limit 1); end $$",
	"create table stolen as select ssn as a from secrets; select a from stolen", "insert into other select 1, ssn from secrets", "select id, note from other",
	"select ssn as a into stolen from secrets", "do $$ begin perform set_config('my.x', (select ssn from secrets limit 1), false); end $$; show my.x",
	"do $$ begin perform set_config('my.x', (select ssn from secrets limit 1), false); end $$; select current_setting('my.x')",
	"merge into other o using secrets s on o.id = s.id when matched then update set note = s.ssn", "update other set note = ssn from secrets", "select * from other",
	"set client_encoding = 'LATIN1'; select ssn from secrets", "alter table other inherit secrets", "update secrets set ssn = null where id = 1 and ssn = '9' returning ssn, old",
}

func TestNoTechniqueShowsAMaskedValue(t *testing.T) {
	for _, with := range []string{"redact", "partial", `"null"`, "hash"} {
		w := secretly(t, with)
		for _, sql := range techniques {
			out, _ := w.run("psql", "-X", "-A", w.url("postgres"), "-c", sql)
			if testing.Verbose() && with == "redact" {
				t.Log(sql, "=>", out)
			}
			leaksIn(t, sql, strings.ReplaceAll(out, sql, ""))
			if strings.Contains(out, "protocol violation") || strings.Contains(out, "server closed") {
				t.Errorf("%s ended the session: %s", sql, out)
			}
		}
		leaksIn(t, "tape", w.tapes.everything(interceptor.TapeDown))
	}
}

func TestMaskedValuesStayValidForDrivers(t *testing.T) {
	for _, with := range []string{"redact", "partial", "hash", "bucket", "shift", "token", `"null"`} {
		w := secretly(t, with)
		c := connect(t, w, "postgres")
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeSimpleProtocol} {
			rows, err := c.Query(t.Context(), "select * from secrets order by id", mode)
			if err != nil {
				t.Fatal(with, mode, err)
			}
			n := 0
			for rows.Next() {
				values, err := rows.Values()
				if err != nil {
					t.Error(with, mode, err)
				}
				for _, raw := range rows.RawValues() {
					leaksIn(t, with+" "+mode.String(), string(raw))
					if bytes.Contains(raw, []byte{0xc0, 0xff, 0xee}) {
						t.Error("raw leaks")
					}
				}
				n++
				if n == 2 && (values[2] != nil || values[3] != nil || values[12] != nil) {
					t.Error("NULL did not stay NULL", values)
				}
				if n == 1 && with == "redact" && fmt.Sprint(values[2:5]) != "[[masked] 0 2000-01-01 00:00:00 +0000 UTC]" {
					t.Error(values)
				}
			}
			if rows.Err() != nil || n != 2 {
				t.Error(with, mode, rows.Err(), n)
			}
		}
	}
}

func TestCleanStatementsPassUnchanged(t *testing.T) {
	w := secretly(t, "redact")
	for _, c := range [][2]string{
		{"select id, note from other", "1|note"},
		{"select upper(note), count(*) from other group by 1", "NOTE|1"},
		{"select note from innocent", "note"},
		{"select upper(note) from innocent", "NOTE"},
		{"with a as (select note from other) select count(*) from a", "1"},
		{"select id from secrets where id = 1", "1"},
		{"select 1 + 1, now() is not null", "2|t"},
		{"copy other to stdout", "1\tnote"},
		{"copy (select upper(note) from other) to stdout csv", "NOTE"},
		{"show server_version_num", "150018"},
		{"select relname from pg_class where relname = 'secrets'", "secrets"},
		{"insert into other values (2, 'b') returning id, note", "2|b\nINSERT 0 1"},
		{"create table late (a int); insert into late values (5)", "INSERT 0 1"},
		{"select a from late", "5"},
		{"copy (select 'jo@example.com') to stdout", "[masked]"},
		{"copy secrets (id, ssn, pin) to stdout", "1\t[masked]\t0\n2\t\\N\t\\N"},
		{"copy secrets (id, ssn, pin) to stdout (format csv, header)", "id,ssn,pin\n1,\"[masked]\",\"0\"\n2,,"},
	} {
		out, err := w.run("psql", "-X", "-At", w.url("postgres"), "-c", c[0])
		if err != nil || !strings.HasSuffix(strings.TrimSpace(out), c[1]) {
			t.Errorf("%s: %v: %q, want %q", c[0], err, out, c[1])
		}
	}
}

func TestColumnsGeneratedFromMaskedOnesAreHidden(t *testing.T) {
	w := secretly(t, "partial")
	if _, err := postgres.psql(`alter table secrets add column folded text generated always as (upper(ssn)) stored, add column named text generated always as (upper(name)) stored,
add column one int generated always as (1) stored; create table heir () inherits (secrets)`); err != nil {
		t.Fatal(err)
	}
	a := attack(t, w, "")
	for _, c := range [][2]string{
		{"select folded, one, id from secrets order by id", "[masked]|1|1 [masked]|1|2 "},
		{"select named from secrets where id = 2", "PLAIN "},
		{"select folded from only secrets where id = 1", "[masked] "},
		{"update secrets set id = 1 where id = 1 returning folded", "[masked] "},
		{"copy secrets (id, ssn) to stdout", "2\t\\N\n1\t***-**-2956\n"},
		{"copy secrets (folded) to stdout", "42501 "},
		{"copy heir to stdout", ""},
		{"alter table secrets alter column folded drop expression", ""},
		{"select folded from secrets where id = 1", "[masked] "},
	} {
		if got := a.asks(c[0]); got != c[1] {
			t.Errorf("%s: %q, want %q", c[0], got, c[1])
		}
	}
	if got := a.asks("copy secrets to stdout"); !strings.Contains(got, "***-**-2956") {
		t.Error("a copy of the table:", got)
	}
	leaksIn(t, "the wire", a.got.String())
}
