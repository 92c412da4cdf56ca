package postgres

import (
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor"
)

// sneaky are ways to run code of users that no call in a statement names.
const sneaky = `drop table if exists ticks, checked, defaulted, indexed, policed, row_of, kids, grown, wall cascade; drop view if exists pane; drop table if exists attr cascade;
create table attr (a int); insert into attr values (1);
create table row_of (a int); insert into row_of values (1);
create or replace function leak(attr) returns text language sql as 'select ssn from secrets limit 1';
create or replace function leak_any(anyelement, int default 1) returns text language sql as 'select ssn from secrets limit 1';
create or replace function says() returns bool language plpgsql as $$begin raise notice '%', (select ssn from secrets limit 1); return true; end$$;
create or replace function says(int) returns bool language plpgsql immutable cost 0.0001 as $$begin raise exception '%', (select ssn from secrets limit 1); end$$;
create or replace function says(text) returns bool language plpgsql as $$begin raise exception '%', (select ssn from secrets limit 1); end$$;
create or replace function ticks() returns trigger language plpgsql as $$begin raise notice '%', (select ssn from secrets limit 1); return new; end$$;
create or replace function known() returns text language sql as 'select ssn from secrets limit 1';
create table ticks (a int primary key); create trigger t before insert or delete on ticks for each row execute function ticks();
insert into ticks values (7);
create view pane as select a from ticks;
create table grown (a int) partition by list (a); create table kids partition of grown default; create trigger t before insert on kids for each row execute function ticks();
create table wall (a int primary key); insert into wall values (1); alter table ticks add b int references wall on delete cascade; insert into ticks values (8, 1);
create table checked (a int check (says(a))); create table defaulted (a int, b text default known()); create table indexed (a int); create index on indexed (says(a));
create table policed (a int); insert into policed values (1); alter table policed enable row level security, force row level security; create policy p on policed using (says(a));
grant select on policed to public; do 'begin create role lowly; exception when duplicate_object then null; end';
drop domain if exists dom, dom2; create domain dom as text check (says(value)); create domain dom2 as dom;
drop type if exists comp cascade; create type comp as (a dom); drop type if exists cast_to cascade; create type cast_to as (a text);
create or replace function casting(row_of) returns cast_to language sql as 'select row(ssn)::cast_to from secrets limit 1'; create cast (row_of as cast_to) with function casting(row_of);
create or replace function public.abs(text) returns text language sql as 'select ssn from secrets limit 1';
create or replace function "json_scalar"(text) returns text language sql as 'select ssn from secrets limit 1';
create or replace function "merge_action"() returns text language sql as 'select ssn from secrets limit 1';`

func TestCodeOfUsersIsSeenWhereverItRuns(t *testing.T) {
	w := secretly(t, "redact")
	if _, err := postgres.psql(sneaky); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = postgres.psql(`drop function abs(text), "json_scalar", "merge_action", leak, leak_any cascade; drop cast (row_of as cast_to); drop domain dom cascade; drop table ticks, checked, defaulted, indexed, policed, row_of, attr, grown, wall cascade`)
	})
	a := attack(t, w, "")
	for _, text := range []string{
		"select i.leak from attr i", "select (i).leak from attr i", "select public.attr.leak from public.attr", "select max(i.leak_any) from attr i",
		"select (row(1)::attr).leak", "explain (analyze, verbose) select i.leak from attr i",
		"insert into ticks values (1)", "insert into pane values (2)", "insert into grown values (1)", "copy ticks (a) from program 'echo 5'", "delete from wall",
		"insert into checked values (1)", "insert into defaulted (a) values (1) returning b || ''", "insert into indexed values (1)",
		"set role lowly", "select * from policed", "reset role",
		"select 'x'::dom", "select 'x'::dom2", "select array['x']::dom[]", "select row('x')::comp", "select json_populate_record(null::comp, '{\"a\":\"x\"}')",
		"select * from jsonb_to_record('{\"a\":\"x\"}') as x(a dom)", "select cast('x' as public.dom2)",
		"select i::cast_to from row_of i", "select (row(1)::row_of)::cast_to", "select (i::cast_to)::text from row_of i",
		"select public.abs('x'::text)", "select abs('x'::text)", "select json_scalar('x'::text)", "select merge_action()",
		"with x as (merge into ticks using (values (3)) v(a) on ticks.a = v.a when not matched then insert values (v.a)) select 1",
	} {
		from := a.got.Len()
		a.does(text)
		leaksIn(t, text, a.got.String()[from:])
	}
	leaksIn(t, "the tape", w.tapes.everything(interceptor.TapeDown))
}

func TestWhatRunsNoCodeOfUsersIsShown(t *testing.T) {
	w := secretly(t, "redact")
	if _, err := postgres.psql(sneaky); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = postgres.psql(`drop function abs(text), "json_scalar", "merge_action", leak, leak_any cascade; drop cast (row_of as cast_to); drop domain dom cascade; drop table ticks, checked, defaulted, indexed, policed, row_of, attr, grown, wall cascade`)
	})
	a := attack(t, w, "")
	for _, c := range [][2]string{ // in this order: one row is put in and taken out again
		{"select count(*), max(a) from ticks", "2|8 "},
		{"select count(*) from wall", "1 "},
		{"select upper(o.note) from other o where o.id between 1 and 2", "NOTE "},
		{"insert into other values (5, upper('c')) returning upper(note)", "C "},
		{"delete from other where id = 5 returning id", "5 "},
		{"select 1 + 1, 'x'::text || 'y'", "2|xy "},
		{"select count(*) > 10 from pg_class c where c.relname = c.relname", "t "},
		{"select json_build_object('a', 1)", `{"a" : 1} `},
	} {
		if got := a.asks(c[0]); got != c[1] {
			t.Errorf("%s: %q, want %q", c[0], got, c[1])
		}
	}
	out, err := w.run("psql", "-X", w.url("postgres"), "-c", `\d`, "-c", `\d secrets`, "-c", `\df harmless`, "-c", `\dn+`)
	if err != nil || strings.Contains(out, "[masked]") || strings.Contains(out, "NOTICE") || !strings.Contains(out, "secrets_pkey") {
		t.Error("psql:", err, out)
	}
}
