package postgres

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/chaperone-dev/chaperone/interceptor"
)

// shift is a table whose first column holds a character that ends in "|" in SJIS.
const shift = `drop table if exists shifts; create table shifts (a text, ssn text, z text);
insert into shifts values (U&'n\8868', '713-48-2956', U&'z\30DD')`

func TestCopyFieldsAreWhereTheServerEndsThem(t *testing.T) {
	w := watch(t, "full", "-masks: [{name: pii, target: db, columns: [shifts.ssn], with: redact}]\n")
	if _, err := postgres.psql(shift); err != nil {
		t.Fatal(err)
	}
	for option, shown := range map[string]bool{
		"delimiter '|', encoding 'SJIS'":           false,
		"delimiter '|', encoding 'win-932'":        false,
		"delimiter '|', encoding sjis, format csv": false,
		"delimiter '|', encoding 'UTF8'":           true,
		"delimiter '|', encoding 'utf_8'":          true,
		"format csv, delimiter 7":                  true,
		"format csv, delimiter *":                  true,
		"format csv, quote 1, delimiter 7":         true,
	} {
		out, err := w.run("psql", "-X", "-At", w.url("postgres"), "-c", "copy shifts to stdout ("+option+")")
		leaksIn(t, option, out)
		if got := err == nil && strings.Contains(out, "[masked]"); got != shown {
			t.Errorf("%s: %v: %s", option, err, out)
		}
	}
	leaksIn(t, "the tape", w.tapes.everything(interceptor.TapeDown))
}

// destination is the server's address, as flows have it.
func (w *watched) destination() netip.AddrPort {
	return netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", postgres.port))
}

// asks runs texts one by one and tells their rows and notices.
func (a *attacker) asks(texts ...string) (said string) {
	a.t.Helper()
	for _, text := range texts {
		a.send(simple(text))
		for done := false; !done; {
			m, err := a.wire.Receive()
			if err != nil {
				a.t.Fatal(text, err)
			}
			switch m := m.(type) {
			case *pgproto3.DataRow:
				said += string(bytes.Join(m.Values, []byte("|"))) + " "
			case *pgproto3.CopyData:
				said += string(m.Data)
			case *pgproto3.NoticeResponse:
				said += "NOTICE "
			case *pgproto3.ErrorResponse:
				said += m.Code + " "
			case *pgproto3.ReadyForQuery:
				done = true
			}
		}
	}
	return said
}

const someFunctions = `
create or replace function altering() returns int language plpgsql as $$begin create or replace view innocent as select id, ssn::text as note from secrets; return 1; end$$;
create or replace function calling() returns int language sql as 'select altering()';
create or replace function upserting() returns int language plpgsql as $$begin insert into other values (1, 'a') on conflict do nothing; return 1; end$$;`

func TestAFunctionThatChangesNoDefinitionsHidesNothing(t *testing.T) {
	w := secretly(t, "redact")
	if _, err := postgres.psql(someFunctions); err != nil {
		t.Fatal(err)
	}
	a, b := attack(t, w, ""), attack(t, w, "")
	const look = "select upper(note) from innocent"
	if got := b.asks(look); got != "NOTE " {
		t.Fatal(got)
	}
	catalog := w.server.Protocols[0].(*protocol).catalogs.of(database{w.destination(), "postgres"})
	before := catalog.begin()
	a.asks("begin", "select harmless(1)", "select upserting()")
	if got := b.asks(look, "copy (select note from other limit 1) to stdout", "begin", look); got != "NOTE note\nNOTE " {
		t.Error("within the other's transaction:", got)
	}
	a.asks("rollback")
	if got := b.asks(look, "commit"); got != "NOTE " {
		t.Error("after it:", got)
	}
	if after := catalog.begin(); after != before {
		t.Error("everybody loads the catalog anew")
	}
}

func TestAFunctionThatMayChangeDefinitionsIsNoticed(t *testing.T) {
	for _, call := range []string{"select altering()", "select calling()", "prepare p as select calling(); execute p", "do 'begin perform altering(); end'"} {
		t.Run(call, func(t *testing.T) {
			w := secretly(t, "redact")
			if _, err := postgres.psql(someFunctions); err != nil {
				t.Fatal(err)
			}
			a, b := attack(t, w, ""), attack(t, w, "")
			const look = "select upper(note) from other"
			if got := b.asks(look); got != "NOTE " {
				t.Fatal(got)
			}
			a.asks("begin", call)
			if got := b.asks(look); got != "[masked] NOTICE " && got != "NOTICE [masked] " {
				t.Error("b cannot know, and is told so:", got)
			}
			a.asks("commit")
			if got := b.asks(look, "select upper(note) from innocent"); got != "NOTE [masked] [masked] " {
				t.Error(got)
			}
			leaksIn(t, call, b.got.String())
		})
	}
}

// A session that began before a function was replaced calls what it has become.
func TestAFunctionReplacedMeanwhileIsNoticed(t *testing.T) {
	w := secretly(t, "redact")
	if _, err := postgres.psql(someFunctions); err != nil {
		t.Fatal(err)
	}
	a, b, c := attack(t, w, ""), attack(t, w, ""), attack(t, w, "")
	a.asks("begin", "select note from other", "select harmless(1)")
	c.asks("create or replace function harmless(int) returns int language sql as 'select altering()'")
	for _, first := range []bool{true, false} {
		if first {
			b.asks("select upper(note) from innocent")
		}
		a.asks("select harmless(1)", "commit")
		if got := b.asks("select upper(note) from innocent"); strings.Contains(got, "713") {
			t.Error(got)
		}
		a.asks("begin")
		c.asks("create or replace view innocent as select id, note from other", "create or replace function harmless(int) returns int language sql as 'select altering() '")
	}
	leaksIn(t, "the wire", b.got.String())
}

func TestOperatorsOfUsersHideOnlyWhatUsesThem(t *testing.T) {
	w := secretly(t, "redact")
	if _, err := postgres.psql(`create or replace function prying(int, int) returns text language sql as 'select ssn from secrets limit 1';
drop operator if exists ###(int, int); create operator ### (leftarg = int, rightarg = int, function = prying);
drop operator if exists @@@@(none, text); create operator @@@@ (rightarg = text, function = pg_read_file);
create extension if not exists citext`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = postgres.psql("drop operator ###(int, int); drop operator @@@@(none, text); drop extension citext")
	})
	a := attack(t, w, "")
	if got := a.asks("select 1 + 1", "select upper(note) from other where id = 1", "select count(*) from plain where id between 1 and 3"); got != "2 NOTE 3 " {
		t.Error(got)
	}
	if got := a.asks("select 1 ### 2", "select @@@@ 'PG_VERSION'", "select (select 1) operator(public.###) 2"); got != "[masked] [masked] [masked] " {
		t.Error(got)
	}
	leaksIn(t, "the wire", a.got.String())
}

func TestMasksOnViewsMask(t *testing.T) {
	w := watch(t, "full", "-masks: [{name: v, target: db, columns: [people_v.mail, people_m.mail, \"*.pin\"], with: partial}]\n")
	if _, err := postgres.psql(`drop table if exists people cascade; create table people (id int, email text, code int); insert into people values (1, '713-48-2956', 4711), (2, null, null);
create view people_v as select id, email as mail, upper(email) as pin from people; create materialized view people_m as select id, email as mail from people;
drop sequence if exists counter; create sequence counter; create view over_v as select id, mail from people_v; create view of_pin as select id, pin from people_v`); err != nil {
		t.Fatal(err)
	}
	a := attack(t, w, "")
	for text, want := range map[string]string{
		"select id, mail, pin from people_v order by id":               "1|***-**-2956|***-**-2956 2|| ",
		"select id, mail from people_m order by id":                    "1|***-**-2956 2| ",
		"select email from people where id = 1":                        "713-48-2956 ",
		"select upper(mail) from people_v where id = 1":                "[masked] ",
		"select max(mail), count(*) from people_m":                     "[masked]|0 ",
		"select mail from over_v where id = 1":                         "[masked] ",
		"select v from people_v v where id = 2":                        " ",
		"select last_value from counter":                               "1 ",
		"copy people_v to stdout":                                      "42501 ",
		"copy (select mail from people_m) to stdout":                   "42501 ",
		"insert into people select 3, mail from people_v where id = 1": "42501 ",
	} {
		if got := a.asks(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestMaskedValuesAreNotCarriedToAnotherTable(t *testing.T) {
	w := secretly(t, "redact")
	if _, err := postgres.psql(`drop table if exists ruled; create table ruled (a int); drop view if exists entry; create view entry as select 1 as a;
create rule r as on insert to ruled do instead insert into other select 1, ssn from secrets;
create rule r as on insert to entry do instead insert into other select 1, ssn from secrets;
create schema if not exists elsewhere; drop table if exists elsewhere.secrets; create table elsewhere.secrets (e text); insert into elsewhere.secrets values ('x')`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = postgres.psql("drop schema elsewhere cascade") })
	a := attack(t, w, "")
	for text, want := range map[string]string{
		"with i as (insert into other select 1000 + id, ssn from secrets) update secrets set name = name where id = 1": "42501 ",
		"with u as (update secrets set name = name returning ssn) insert into other select 1, ssn from u":              "42501 ",
		"with d as (delete from secrets where id = 9 returning ssn) update other set note = ssn from d":                "42501 ",
		"update elsewhere.secrets set e = (select string_agg(ssn, ',') from public.secrets)":                           "42501 ",
		"update elsewhere.secrets set e = ssn from public.secrets s":                                                   "42501 ",
		"insert into ruled values (1)":                                                          "42501 ",
		"insert into entry values (1)":                                                          "42501 ",
		"prepare kept as select ssn from secrets":                                               "",
		"create temp table kept as execute kept":                                                "42501 ",
		"create temp table kept as execute other_name":                                          "42501 ",
		"do 'begin insert into other select 1, ssn from secrets; end'":                          "42501 ",
		"update secrets set name = 'x' where id = 1":                                            "",
		"update public.secrets set name = s.name from public.secrets s where s.id = secrets.id": "",
		"with secrets as (select 7 as n) insert into other select n, 'x' from secrets":          "",
		"create temp table likely (like public.secrets)":                                        "",
		"delete from other where id in (select id from secrets where id = 99)":                  "",
		"insert into other values (8, 'b') on conflict do nothing":                              "",
	} {
		if text == "create temp table kept as execute kept" {
			a.asks("prepare kept as select ssn from secrets")
		}
		if got := a.asks(text); got != want && !strings.HasPrefix(text, "prepare") {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	if got := a.asks("begin", "create temp table mine (e text)", "alter table mine rename to secrets", "update secrets set e = (select max(ssn) from public.secrets)"); got != "42501 " {
		t.Error("while it shadows the table:", got)
	}
}

func TestTablesAreMaskedAsTheirPartsAre(t *testing.T) {
	const setUp = `drop table if exists parts, par, top cascade; create table parts (id int, email text, pin int) partition by list (id);
create table parts_1 partition of parts for values in (1); create table parts_2 partition of parts for values in (2);
insert into parts values (1, '713-48-2956', 1), (2, 'open', 2);
create table top (email text); create table par (email text) inherits (top); create or replace function joining() returns int language plpgsql as
$$begin alter table secrets_2 inherit par; return 1; end$$;
drop table if exists secrets_2; create table secrets_2 (id int, email text); insert into secrets_2 values (1, '713-48-2956');
drop table if exists listed cascade; create table listed (id int, email text) partition by list (id)`
	w := watch(t, "full", "-masks: [{name: pii, target: db, columns: [public.parts_1.email, public.secrets_2.email], with: redact}]\n")
	if _, err := postgres.psql(setUp); err != nil {
		t.Fatal(err)
	}
	a, b := attack(t, w, ""), attack(t, w, "")
	if got := a.asks("select email, pin from parts order by id", "copy (select * from parts) to stdout", "select max(email) from parts", "select email from parts_2"); got != "[masked]|1 [masked]|2 42501 [masked] open " {
		t.Error("a partition:", got)
	}
	for _, join := range []string{"alter table secrets_2 inherit par", "select joining()", "do 'begin execute ''alter table secrets_2 inherit par''; end'"} {
		b.asks("begin", "select email from par")
		got := a.asks("begin", join, "select email from par", "select email from top", "commit", "select email from top", "select max(email) from top")
		if strings.Count(got, "[masked]") < 3 {
			t.Error(join, got)
		}
		b.asks("select email from par", "rollback", "select email from par")
		a.asks("alter table secrets_2 no inherit par")
	}
	b.asks("begin", "select email from listed")
	a.asks("alter table listed attach partition secrets_2 default", "select email from listed")
	b.asks("select email from listed", "select upper(email) from listed", "commit", "select email from listed")
	leaksIn(t, "a", a.got.String())
	leaksIn(t, "b", b.got.String())
}

func TestMaskedValuesMeetNoFunctionThatDoesMoreThanCompute(t *testing.T) {
	w := secretly(t, "redact")
	if _, err := postgres.psql("drop sequence if exists counter; create sequence counter"); err != nil {
		t.Fatal(err)
	}
	a := attack(t, w, "")
	for text, want := range map[string]string{
		"select lo_unlink((3000000 + ascii(substr(ssn, 1, 1)))::oid) from secrets":                               "42501 ",
		"select lo_create(3000000 + pin) from secrets":                                                           "42501 ",
		"select pg_create_physical_replication_slot('x' || encode(ssn::bytea, 'hex')) from secrets where id = 1": "42501 ",
		"select pg_replication_origin_create(ssn) from secrets where id = 1":                                     "42501 ",
		"select pg_advisory_unlock(pin) from secrets":                                                            "42501 ",
		"select setseed(1.0 / pin) from secrets where id = 1":                                                    "42501 ",
		"select pg_stat_reset_single_table_counters(pin) from secrets":                                           "42501 ",
		"with a as (select nextval('counter') n) select n, pin from a, secrets":                                  "42501 ",
		"insert into secrets (id, name) values (nextval('counter') + 100, 'x') returning name":                   "x ",
		"select setseed(0.5), pg_advisory_xact_lock(7)":                                                          "| ",
		"select nextval('counter') > 0, upper(note) from other":                                                  "t|NOTE ",
		"select harmless(id), id from secrets where id = 1":                                                      "0|1 ",
		"select upper(ssn), length(name), now() is null, id from secrets where id = 1":                           "[masked]|0|f|1 ",
	} {
		if got := a.asks(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestTablesAreShownWhileOthersAreDefined(t *testing.T) {
	w := secretly(t, "redact")
	a := attack(t, w, "")
	for text, want := range map[string]string{
		"begin; create temp table brief (a int) on commit drop; select id, note from other; commit":                      "1|note ",
		"do 'begin create temp table brief (a int) on commit drop; end'; select note from other":                         "note ",
		"alter table other add column if not exists more int; select note, ssn from other, secrets where secrets.id = 1": "note|[masked] ",
	} {
		if got := a.asks(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	if got := a.asks("do 'begin execute ''alter table secrets add more int''; end'; select note from other"); got != "[masked] NOTICE " && got != "NOTICE [masked] " && got != "[masked] " {
		t.Error("what dynamic SQL did is not known:", got)
	}
}

// What a function wrote into a setting or a notification is not read back from there.
func TestWhatAFunctionStoredOutsideOfTablesIsHidden(t *testing.T) {
	w := secretly(t, "redact")
	if _, err := postgres.psql(`
create or replace function stores() returns int language plpgsql as $$begin perform set_config('application_name', (select ssn from secrets where id = 1), false); return 1; end$$;
create or replace function zones() returns int language plpgsql as $$begin perform set_config('TimeZone', (select '<'||ssn||'>0' from secrets where id = 1), false); return 1; end$$;
create or replace function tells() returns int language plpgsql as $$begin perform pg_notify('told', (select ssn from secrets where id = 1)); return 1; end$$`); err != nil {
		t.Fatal(err)
	}
	a, b, c := attack(t, w, ""), attack(t, w, ""), attack(t, w, "")
	b.does("listen told")
	if got := c.asks("select setting from pg_settings where name = 'TimeZone'", "select now() > 'epoch'", "set timezone = 'UTC'", "notify told, 'hello'"); !strings.HasSuffix(got, "t ") || strings.Contains(got, "masked") {
		t.Error("who stored nothing:", got)
	}
	if c.does("listen own", "notify own, 'mine'"); !strings.Contains(c.got.String(), "own\x00mine\x00") {
		t.Errorf("what a client tells itself is its own: %q", c.got.String())
	}
	a.does("select stores()", "select setting from pg_show_all_settings() where name = 'application_name'", "select setting from pg_settings where name = 'application_name'",
		"select reset_val || setting from pg_settings where name = 'application_name'", "show application_name", "select zones()", "select tells()")
	b.does("select 1")
	for who, one := range map[string]*attacker{"a": a, "b": b} {
		leaksIn(t, who, one.got.String())
	}
	if !strings.Contains(b.got.String(), "told\x00\x00") || !strings.Contains(b.got.String(), "told\x00hello\x00") {
		t.Errorf("who listens is told less, or more: %q", b.got.String())
	}
	leaksIn(t, "the tape", w.tapes.everything(interceptor.TapeDown))
}

// What statements put off to the end of their transaction speaks when another one ends it.
func TestWhatWasPutOffSaysNothingAtTheEndOfItsTransaction(t *testing.T) {
	const twice, held = "update secrets set ssn = (select max(ssn) from secrets) where id = 2", "declare c cursor with hold for select ssn::int from secrets where id = 1"
	for name, pipeline := range map[string][]pgproto3.FrontendMessage{
		"by COMMIT":                      {simple("begin"), simple(twice), simple("commit")},
		"by SET CONSTRAINTS":             {simple("begin"), simple(twice), simple("set constraints all immediate"), simple("rollback")},
		"by PREPARE TRANSACTION":         {simple("begin"), simple(twice), simple("prepare transaction 'put off'")},
		"by COMMIT of a cursor":          {simple("begin"), simple(held), simple("commit")},
		"by a trigger at COMMIT":         {simple("begin"), simple("update secrets set pin = 1 where id = 1"), simple("commit")},
		"by COMMIT, extended":            {simple("begin"), simple(twice), parse("", "commit"), bind("", ""), execute(""), &pgproto3.Sync{}},
		"by a Query behind a batch":      {parse("", twice), bind("", ""), execute(""), simple("select 1")},
		"by a Query behind, of a cursor": {parse("", "begin"), bind("", ""), execute(""), parse("", held), bind("", ""), execute(""), simple("commit")},
		"by a Sync":                      {parse("", twice), bind("", ""), execute(""), &pgproto3.Sync{}},
	} {
		t.Run(name, func(t *testing.T) {
			w := secretly(t, "redact")
			if _, err := postgres.psql(`alter table secrets add unique (ssn) deferrable initially deferred;
create or replace function tells_late() returns trigger language plpgsql as 'begin raise notice ''%'', new.ssn; raise exception using errcode = ''25001'', message = new.ssn; end';
create constraint trigger t after update of pin on secrets deferrable initially deferred for each row execute function tells_late()`); err != nil {
				t.Fatal(err)
			}
			a := attack(t, w, "")
			a.does("select 1")
			a.send(append(pipeline, &pgproto3.Terminate{})...)
			if said := a.until(100); len(said) < len(" 23505 end") {
				t.Error("nothing failed:", said)
			}
			leaksIn(t, "the wire", a.got.String())
			leaksIn(t, "the tape", w.tapes.everything(interceptor.TapeDown))
		})
	}
}

// What an index is made of runs when its table is looked after, named or not.
func TestUpkeepOfAllTablesSaysNothing(t *testing.T) {
	w := secretly(t, "redact")
	if _, err := postgres.psql(`create or replace function tattles(text) returns text immutable language plpgsql as 'begin raise notice ''%'', $1; return $1; end';
create index tattling on secrets (tattles(ssn)); cluster secrets using secrets_pkey`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = postgres.psql("drop function tattles(text) cascade") })
	for _, upkeep := range []string{"analyze", "vacuum analyze", "vacuum full", "cluster", "reindex index tattling", "reindex schema public", "reindex database postgres"} {
		a := attack(t, w, "")
		a.does("select 1", upkeep)
		leaksIn(t, upkeep, a.got.String())
	}
}

func TestAnEventTriggerSaysNothing(t *testing.T) {
	w := secretly(t, "redact")
	if _, err := postgres.psql(`create or replace function looks_on() returns event_trigger language plpgsql as 'begin raise notice ''%'', (select ssn from secrets limit 1); end';
create materialized view noted as select note from other; create event trigger onlooker on ddl_command_end execute function looks_on()`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = postgres.psql("drop event trigger onlooker; drop function looks_on()") })
	for _, text := range []string{"grant select on other to public", "revoke insert on other from md5", "alter default privileges grant select on tables to public",
		"comment on table other is 'x'", "refresh materialized view noted", "create temp table one (a int)", "alter table other alter note set default 'x'"} {
		a := attack(t, w, "")
		a.does("select 1", text)
		leaksIn(t, text, a.got.String())
	}
}
