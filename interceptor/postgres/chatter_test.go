package postgres

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// chatter makes random conversations.
type chatter struct {
	*rand.Rand
	masked bool // it is after secrets
	evil   bool // it is after the prey
	still  bool // it changes no definitions, and calls no code of users
}

// The world a conversation begins in. What the secrets are the client never says.
const (
	secretWord, secretPIN = "Quokka7Marzipan", 1733970041
	openWord              = "openly"
	world                 = `set client_min_messages = error;
drop schema if exists public cascade; drop schema if exists elsewhere cascade; create schema public; create schema elsewhere;
create table secrets (id int primary key, ssn text unique deferrable initially deferred, pin int);
insert into secrets values (1, 'Quokka7Marzipan', 1733970041), (2, 'Quokka7Marzipan2', null), (3, null, 1733970041);
create table other (id int primary key, note text); insert into other values (1, 'openly'), (2, 'openly, too');
create table prey (a int); insert into prey values (1);
create table filled (a int); create table late (a int unique deferrable initially deferred); insert into late values (1);
create view shows as select id, ssn as x from secrets; create view innocent as select id, note from other;
create function fails() returns trigger language plpgsql as 'begin raise exception ''no''; end';
create table stopped (a int); create trigger t before insert on stopped execute function fails();
create table picky (a int); create trigger t before insert on picky for each row when (new.a > 1) execute function fails();
create table tardy (a int); create constraint trigger t after insert on tardy deferrable initially deferred for each row execute function fails();
create function harmless(int) returns int language sql as 'select $1';
grant all on schema public, elsewhere to public; grant all on all tables in schema public to public`
)

func (c chatter) of(list ...string) string { return list[c.IntN(len(list))] }

func (c chatter) tame() string {
	return c.of("select 1", "select note, 'pure' from other", "select note, 'pure' from other where id = 1", "select * from other", "values ('x'), ('y')", "select generate_series(1, 5)",
		"", ";", "-- nothing", "insert into filled values (1)", "insert into filled values (1) returning a", "select count(*) from filled", "update filled set a = 2",
		"explain (costs off) select 1", "show search_path", "show standard_conforming_strings", "select 'é'", `select 'a\b'`, "select id from secrets", "select x'1f'::int",
		"table innocent", "select note from innocent", "select current_schema()", "select 1; select note, 'pure' from other; select 2", "lock table filled")
}

func (c chatter) erring() string {
	return c.of("select 1/0", "selec 1", "select missing", "select * from nowhere", "select 1/(id - 2) from other order by id", "insert into other values (1, 'twice')",
		"insert into late values (1)", "select 'x'::int", "select 1; select 1/0; select 2", "select 1; selec 2", "insert into late values (1); select 1", "insert into stopped values (1)",
		"insert into tardy values (1)", "set constraints all immediate", "select * from other where note = 1", "do 'begin raise exception ''x''; end'", "do 'begin raise notice ''x''; end'")
}

func (c chatter) transaction() string {
	return c.of("begin", "begin", "commit", "rollback", "savepoint a", "rollback to a", "release a", "begin; select 1", "select 1; commit", "begin; select 1/0", "commit; select 1; begin",
		"commit and chain", "rollback and chain", "start transaction read only", "set transaction isolation level serializable", "end", "abort")
}

func (c chatter) setting() string {
	return c.of("set search_path = elsewhere, public", "set search_path = public", "set local search_path = elsewhere", "set role plain", "reset role", "set role nobody_at_all",
		"set client_encoding = latin1", "set client_encoding = utf8", "set client_encoding = sjis", "set standard_conforming_strings = off", "set standard_conforming_strings = on",
		"set local standard_conforming_strings = off", "reset all", "set application_name = 'x'", "discard all", "discard plans", "set datestyle = german", "set nonsense = 1",
		"select set_config('search_path', 'public', false)", "set extra_float_digits = 1; show extra_float_digits")
}

func (c chatter) named() string {
	q := fmt.Sprintf("q%d", c.IntN(3))
	return c.of("prepare "+q+" as "+c.inner(), "prepare "+q+" as "+c.inner(), "execute "+q, "execute "+q, "deallocate "+q, "deallocate all", "prepare "+q+" (int) as select $1", "execute "+q+" (1)",
		"explain (costs off) execute "+q, "deallocate n1", "prepare n1 as "+c.inner(), "execute n1")
}

func (c chatter) cursor() string {
	name := c.of("c1", "c2", "p1")
	return c.of("declare "+name+" cursor for "+c.inner(), "declare "+name+" cursor with hold for "+c.inner(), "declare "+name+" scroll cursor for "+c.inner(), "fetch all from "+name,
		"fetch 1 from "+name, "move 1 in "+name, "close "+name, "close all", "fetch backward 1 from "+name, "begin; declare "+name+" cursor for "+c.inner()+"; fetch 1 from "+name,
		"begin; declare "+name+" cursor with hold for "+c.inner()+"; commit")
}

func (c chatter) definition() string {
	return c.of("create view v1 as "+c.inner(), "create or replace view innocent as select id, note from other", "drop view v1", "alter view v1 rename to v2", "drop view shows", "alter table filled rename to emptied",
		"alter table other rename column note to noted", "alter table other add column more int", "create temp table filled (a int)", "create temp table t (a int) on commit drop", "drop table filled",
		"create table elsewhere.other (id int, note text)", "create index on filled (a)", "begin; drop view innocent; rollback", "create table late (a int)", "alter table other rename to others",
		"create materialized view m as "+c.inner(), "select * from v1", "select * from m", "table v1", "comment on table other is 'x'", "create schema s create view v as select 1", "select note from elsewhere.other",
		"create table fresh as select note from other", "analyze other", "alter table filled alter a type text", "select a from filled", "truncate filled")
}

// shifty are definitions that make other names of what is secret.
func (c chatter) shifty() string {
	return c.of("create or replace view innocent as select id, ssn as note from secrets", "alter table secrets rename to others", "alter table secrets rename column ssn to note", "alter view shows rename to v1",
		"create view elsewhere.other as select id, ssn as note from secrets", "drop table other cascade; alter table secrets rename to other", "create view v1 as select * from secrets", "alter table shows rename column x to note",
		"create temp view other as select id, ssn as note from secrets", "begin; create or replace view innocent as select id, ssn as note from secrets; select note from innocent; rollback",
		"alter table secrets set schema elsewhere", "alter table secrets inherit other", "alter table other inherit secrets", "create materialized view m as select ssn from secrets", "refresh materialized view m",
		"create rule r as on insert to filled do also select ssn from secrets", "create rule r as on insert to filled do instead select ssn as a from secrets", "create table part () inherits (secrets)",
		"select note from elsewhere.other", "select x from shows", "select * from others", "select note from others", "select v1 from v1", "select note || '' from innocent", "drop view innocent; create view innocent as select id, ssn as note from secrets",
		"alter table secrets alter ssn type varchar(40)", "alter table secrets alter pin type text", "alter table secrets add column copy text generated always as (ssn || '') stored", "select copy from secrets")
}

func (c chatter) nosy() string {
	return c.of("select ssn from secrets", "select * from secrets", "table secrets", "select ssn || '' from secrets", "select secrets from secrets", "select x from shows", "select max(ssn), min(pin) from secrets", "select ssn::int from secrets",
		"select pin::text from secrets", "select to_hex(pin) from secrets", "select encode(ssn::bytea, 'hex') from secrets", "select reverse(ssn) from secrets", "select encode(ssn::bytea, 'base64') from secrets",
		"select upper(ssn) from secrets", "update secrets set ssn = (select max(ssn) from secrets)", "update secrets set id = id returning *", "select note from other union all select ssn from secrets", "insert into secrets (id, ssn) select 4, max(ssn) from secrets",
		"do 'begin raise notice ''%'', (select ssn from secrets limit 1); end'", "do 'begin raise exception ''%'', (select ssn from secrets limit 1); end'", "create table fresh as select ssn from secrets", "select ssn into fresh from secrets", "insert into other select id + 5, ssn from secrets",
		"select (select ssn from secrets where id = 1)", "with a as (select ssn z from secrets) select z from a", "select pg_notify('n', ssn) from secrets", "select set_config('application_name', ssn, false) from secrets", "select 1; select ssn from secrets; select 2",
		"insert into secrets values (1, 'x', 1) on conflict (id) do update set ssn = secrets.ssn returning ssn", "select row(ssn) from secrets", "select pin / 0 from secrets", "explain (analyze, timing off) select ssn from secrets", "select query_to_xml('select ssn from secrets', true, true, '')",
		"select array_agg(ssn) from secrets", "select most_common_vals from pg_stats", "delete from secrets where id = 1 returning ssn", "select s.ssn from secrets s join other o using (id)", "begin; select ssn from secrets", "rollback; select ssn from secrets")
}

const evilDO = "do 'begin execute ''dr'' || ''op table prey''; end'"

func (c chatter) wicked() string {
	return c.of("drop table prey", "truncate prey", "delete from prey", "select 1; drop table prey", "begin; drop table prey; commit", "commit; truncate prey", "drop table filled, prey", "drop schema public cascade", evilQuoted, evilQuoted,
		"with a as (delete from prey returning a) select a from a", "do 'begin drop table prey; end'", evilDO, "prepare q1 as delete from prey", "explain analyze delete from prey", "truncate filled, prey", "drop table if exists public.prey", `drop table "prey"`,
		"merge into prey using other on true when matched then delete", "declare c1 cursor with hold for delete from prey", `select '\'; delete from prey; --'`, "rollback; delete from prey; commit", "drop owned by postgres cascade")
}

// inner is a query that stands in another text.
func (c chatter) inner() string {
	if c.masked && c.IntN(2) == 0 {
		return c.of("select ssn from secrets", "select ssn || '' as ssn from secrets", "select x from shows", "select * from secrets")
	}
	if c.evil && c.IntN(4) == 0 {
		return "delete from prey returning a"
	}
	return c.of("select note from other", "select generate_series(1, 5)", "select 1", "values (1), (2)", "select 1/(id - 2) from other order by id", "select note, 'pure' from other")
}

func (c chatter) copy() string {
	if c.masked && c.IntN(3) == 0 {
		return c.of("copy secrets to stdout", "copy secrets (ssn) to stdout csv header", "copy secrets to stdout (format binary)", "copy (select ssn from secrets) to stdout", "copy shows to stdout", "copy secrets to stdout; select ssn from secrets", "copy secrets to stdout (format csv, quote 'Q', force_quote *)")
	}
	return c.of("copy other to stdout", "copy other to stdout csv", "copy other to stdout (format binary)", "copy (select 1/(id - 2) from other order by id) to stdout", "copy (select 1) to stdout", "copy nowhere to stdout",
		"copy other to stdout; copy other to stdout", "copy other to stdout; select 1/0", "select 1; copy other to stdout; select 2", "copy innocent to stdout")
}

func (c chatter) load() string {
	return c.of("copy filled from stdin", "copy filled from stdin", "copy filled from stdin csv", "copy filled from stdin (format binary)", "copy innocent from stdin", "copy stopped from stdin", "copy picky from stdin", "copy tardy from stdin",
		"copy late from stdin", "copy nowhere from stdin", "copy filled (b) from stdin", "copy filled from stdin; select 1", "select 1; copy filled from stdin", "copy filled from stdin; copy filled from stdin", "copy filled from stdin; select 1/0",
		"select 1/0; copy filled from stdin", "copy filled from stdin (header match)", "begin; copy filled from stdin; commit", "copy filled from stdin where a > 1/0", "copy innocent from stdin; select 1", "copy other to stdout; copy filled from stdin")
}

func (c chatter) text() string {
	text := c.any()
	for c.still && mayAlter.MatchString(text) {
		text = c.any()
	}
	return text
}

// mayAlter finds what changes definitions, or may for all that is known of it.
var mayAlter = regexp.MustCompile(`\b(do|create|into fresh|query_to_xml|discard|(stopped|picky|tardy))\b`)

func (c chatter) any() string {
	k := c.IntN(100)
	switch {
	case c.masked && k < 30:
		if !c.still && k < 9 {
			return c.shifty()
		}
		return c.nosy()
	case c.evil && k < 25:
		return c.wicked()
	}
	switch k = c.IntN(100); {
	case k < 26:
		return c.tame()
	case k < 40:
		return c.erring()
	case k < 56:
		return c.transaction()
	case k < 64:
		return c.setting()
	case k < 73:
		return c.named()
	case k < 82:
		return c.cursor()
	case k < 90 && !c.still:
		return c.definition()
	case k < 93:
		return c.copy()
	case k < 95 && !c.still:
		return c.of("select harmless(1)", "select pg_notify('n', 'x')", "do 'begin perform 1; end'", "do 'begin perform harmless(1); deallocate all; end'")
	case k < 98:
		return c.of("listen n", "unlisten *", "notify n, 'hello'", "notify n")
	}
	return c.load()
}

func (c chatter) row() pgproto3.FrontendMessage {
	return &pgproto3.CopyData{Data: []byte(c.of("1\n", "1\n", "2\n", "bad\n", "1\t2\n", "1\n2\n", "1", "\n", "", "\\.\n", "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00", "\x00\x01\x00\x00\x00\x04\x00\x00\x00\x01", "\xff\xff"))}
}

func (c chatter) ending() pgproto3.FrontendMessage {
	if c.IntN(3) == 0 {
		return &pgproto3.CopyFail{Message: "enough"}
	}
	return &pgproto3.CopyDone{}
}

func (c chatter) statement() string { return c.of("", "", "n1", "n2", "q1") }

func (c chatter) portal() string { return c.of("", "", "p1", "p2", "c1") }

func (c chatter) bind(portal, name string) pgproto3.FrontendMessage {
	b := bind(portal, name)
	if c.IntN(4) == 0 {
		b.ResultFormatCodes = []int16{1}
	}
	if c.IntN(6) == 0 {
		b.Parameters = [][]byte{[]byte(c.of("1", "x", ""))}
	}
	return b
}

func (c chatter) execute(portal string) pgproto3.FrontendMessage {
	return &pgproto3.Execute{Portal: portal, MaxRows: []uint32{0, 0, 0, 1, 2}[c.IntN(5)]}
}

func (c chatter) call() pgproto3.FrontendMessage {
	oid := []uint32{1397, 1397, 0, 177}[c.IntN(4)] // abs(int4), none, int4pl, which takes two
	return &pgproto3.FunctionCall{Function: oid, ArgFormatCodes: []uint16{0}, Arguments: [][]byte{[]byte(c.of("-7", "x"))}, ResultFormatCode: 0}
}

// message is any one a client may send.
func (c chatter) message() pgproto3.FrontendMessage {
	switch k := c.IntN(100); {
	case k < 18:
		return simple(c.text())
	case k < 36:
		return c.parse()
	case k < 50:
		return c.bind(c.portal(), c.statement())
	case k < 55:
		return shapeOf(c.portal())
	case k < 58:
		return &pgproto3.Describe{ObjectType: 'S', Name: c.statement()}
	case k < 73:
		return c.execute(c.portal())
	case k < 85:
		return &pgproto3.Sync{}
	case k < 88:
		return &pgproto3.Flush{}
	case k < 90:
		return &pgproto3.Close{ObjectType: 'S', Name: c.statement()}
	case k < 92:
		return &pgproto3.Close{ObjectType: 'P', Name: c.portal()}
	case k < 95:
		return c.row()
	case k < 98:
		return c.ending()
	}
	return c.call()
}

func (c chatter) parse() pgproto3.FrontendMessage {
	switch c.IntN(8) {
	case 0:
		return &pgproto3.Parse{Name: c.statement(), Query: c.of("select $1::int", "select $1 || ''", "insert into filled values ($1)", "select note, 'pure' from other where id = $1"), ParameterOIDs: [][]uint32{nil, {23}}[c.IntN(2)]}
	case 1:
		return parse(c.statement(), c.load())
	}
	return parse(c.statement(), c.text())
}

// run is a text's run as libpq and others pipeline it, without its Sync.
func (c chatter) run(text string) []item {
	name, portal := c.of("", "", "n1", "n2", "n3"), c.of("", "", "", "p1")
	var items []item
	add := func(m pgproto3.FrontendMessage) { items = append(items, item{m: m}) }
	if name != "" && c.IntN(3) == 0 {
		add(&pgproto3.Close{ObjectType: 'S', Name: name})
	}
	if c.IntN(5) > 0 {
		add(parse(name, text))
	}
	if c.IntN(6) == 0 {
		add(&pgproto3.Describe{ObjectType: 'S', Name: name})
	}
	add(c.bind(portal, name))
	if c.IntN(2) == 0 {
		add(shapeOf(portal))
	}
	for add(c.execute(portal)); c.IntN(5) == 0 && !strings.Contains(text, "stdin"); {
		add(c.execute(portal))
	}
	if portal != "" && c.IntN(2) == 0 {
		add(&pgproto3.Close{ObjectType: 'P', Name: portal})
	}
	return items
}

// turn is one thing a driver does, and its answer.
func (c chatter) turn() []item {
	sync, wait := item{m: &pgproto3.Sync{}}, item{waits: true}
	switch k := c.IntN(20); {
	case k < 6:
		return []item{{m: simple(c.text())}, wait, {m: c.ending(), copying: true}, wait}
	case k < 12:
		return append(c.run(c.text()), sync, wait, item{m: &pgproto3.CopyDone{}, copying: true}, item{m: &pgproto3.Sync{}, copying: true}, wait)
	case k < 14: // a pipeline
		var items []item
		for range 2 + c.IntN(4) {
			text := c.text()
			for len(text) > 3 && strings.Contains(text, "stdin") {
				text = c.text()
			}
			if items = append(items, c.run(text)...); c.IntN(2) == 0 {
				items = append(items, sync)
			}
			if c.IntN(5) == 0 {
				items = append(items, item{m: &pgproto3.Flush{}})
			}
		}
		return append(items, sync, wait)
	case k < 18:
		return c.loading()
	case k < 19:
		return []item{{m: c.call()}, wait}
	case c.still: // a cancel may hit our own load of the catalog, without which everything is hidden
		return []item{{m: simple(c.tame())}, wait}
	}
	return []item{{m: simple("select pg_sleep(3)")}, {cancels: true}, wait}
}

// loading is a COPY FROM STDIN of libpq's, simple or extended, or of pgx's, which does not wait to be asked.
func (c chatter) loading() []item {
	rows, asked := c.IntN(4), c.IntN(3)
	items := []item{{m: simple(c.load())}}
	if asked == 1 {
		items = []item{{m: parse("", c.load())}, {m: bind("", "")}, {m: shapeOf("")}, {m: execute("")}, {m: &pgproto3.Sync{}}}
	}
	if asked < 2 {
		items = append(items, item{waits: true})
	}
	for range rows {
		items = append(items, item{m: c.row(), copying: asked < 2})
	}
	items = append(items, item{m: c.ending(), copying: asked < 2})
	if asked == 1 {
		items = append(items, item{m: &pgproto3.Sync{}, copying: true})
	}
	return append(items, item{waits: true}, item{m: c.ending(), copying: true}, item{waits: true})
}

// driven is a conversation of a well-behaved driver's.
func (c chatter) driven(seed uint64) talk {
	k := talk{seed: seed, options: c.options(), patience: time.Second}
	for n := range 2 + c.IntN(8) {
		for _, i := range c.turn() {
			i.turn = n
			k.items = append(k.items, i)
		}
	}
	return k.probed()
}

// wild is one that no driver would have.
func (c chatter) wild(seed uint64) talk {
	k := talk{seed: seed, options: c.options(), patience: 8 * time.Millisecond}
	for range 1 + c.IntN(30) {
		switch j := c.IntN(40); {
		case j == 0:
			k.items = append(k.items, item{waits: true})
		case j < 4:
			k.items = append(k.items, c.run(c.text())...)
		case j < 6:
			for _, i := range c.loading() {
				if i.copying = false; i.m != nil {
					k.items = append(k.items, i)
				}
				if i.m != nil && c.IntN(5) == 0 {
					k.items = append(k.items, item{m: &pgproto3.Sync{}})
				}
			}
		default:
			k.items = append(k.items, item{m: c.message()})
		}
	}
	return k.probed()
}

func (c chatter) options() string {
	return c.of("", "", "-c standard_conforming_strings=off")
}

// probed shows at a talk's end what state the session is in.
func (k talk) probed() talk {
	wait := item{waits: true}
	for n, i := range []item{wait, {m: &pgproto3.CopyFail{}}, {m: &pgproto3.Sync{}}, wait, {m: simple("rollback")}, wait,
		{m: simple("show search_path; select name from pg_prepared_statements order by 1; select name from pg_cursors order by 1; select current_user")}, wait} {
		i.turn = 1000 + n
		k.items = append(k.items, i)
	}
	return k
}
