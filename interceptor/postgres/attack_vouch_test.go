package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/chaperone-dev/chaperone/interceptor"
)

// swaps are functions that give a name to another statement, or to another cursor.
const swaps = `
create or replace function swaps(text) returns text language plpgsql as $$
begin execute 'deallocate p'; execute 'prepare p as ' || $1; return 'swapped'; end $$;
create or replace function moves(text) returns text language plpgsql as $$
declare c refcursor := 'pp'; begin close c; open c for execute $1; return 'moved'; end $$;
create or replace view swapping as select swaps('select upper(ssn) from secrets where id = 1');`

func TestANameIsVouchedForWhenCodeRan(t *testing.T) {
	sync := &pgproto3.Sync{}
	for name, turns := range map[string][][]pgproto3.FrontendMessage{
		"a statement, by a function": {
			{parse("p", tame), sync}, {simple("select swaps('" + nosy + "')")},
			{bind("", "p"), shapeOf(""), execute(""), sync},
		},
		"a statement, by a function in its batch": {
			{parse("p", tame), sync},
			{parse("", "select swaps('"+nosy+"')"), bind("", ""), execute(""), bind("", "p"), execute(""), sync},
		},
		"a statement, by a view": {
			{parse("p", tame), sync}, {simple("select * from swapping")},
			{bind("", "p"), execute(""), sync},
		},
		"a statement, by a cursor": {
			{parse("p", tame), sync}, {simple("begin"), simple("declare c cursor for select swaps('" + nosy + "')"), simple("select 1")},
			{bind("", "p"), execute(""), sync}, {simple("fetch c")},
			{bind("", "p"), execute(""), sync},
		},
		"a statement, again after a batch that failed before it": {
			{parse("p", tame), sync}, {simple("select swaps('" + nosy + "')")},
			{parse("", "select 1/0"), bind("", ""), execute(""), bind("", "p"), execute(""), sync, bind("", "p"), execute(""), sync},
		},
		"a portal": {
			{simple("begin"), parse("", tame), bind("pp", ""), sync}, {simple("select moves('" + nosy + "')")},
			{shapeOf("pp"), execute("pp"), sync},
		},
		"a name that the server cuts short": {
			{parse(strings.Repeat("n", 70), tame), sync}, {simple("deallocate all")},
			{parse(strings.Repeat("n", 69), nosy), sync, bind("", strings.Repeat("n", 70)), execute(""), sync},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := secretly(t, "redact")
			if _, err := postgres.psql(swaps); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = postgres.psql("drop view swapping; drop function swaps, moves") })
			a := attack(t, w, "")
			a.does("select 'the catalog is known'")
			for _, turn := range turns {
				a.send(turn...)
				a.until(batches(turn))
			}
			leaksIn(t, "the wire", a.got.String())
			leaksIn(t, "the tape", w.tapes.everything(interceptor.TapeDown))
			a.alive()
		})
	}
}

func TestARuleHoldsForWhatAFunctionPrepared(t *testing.T) {
	w := watch(t, "full", "")
	if _, err := postgres.psql(swaps[:strings.Index(swaps, "create or replace view")]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = postgres.psql("drop function swaps, moves") })
	p, a := hunt(t, w), attack(t, w, "")
	sync := &pgproto3.Sync{}
	a.send(parse("p", "select 1"), sync, simple("select swaps('insert into prey values (6)')"))
	a.until(2)
	a.send(bind("", "p"), execute(""), sync)
	if said := a.until(1); said != " 42501" || w.journal.rules() != "(names)\n" {
		t.Errorf("said %s, journal %q", said, w.journal.rules())
	}
	a.alive()
	if out, err := postgres.psql("select count(*) from prey"); err != nil || out != "0\n" {
		t.Error(out, err)
	}
	for _, ran := range p.ran() {
		if strings.HasPrefix(ran, "insert into prey") {
			t.Error("it ran")
		}
	}
}

// Drivers keep statements and cursors while functions are called.
func TestNamesOutliveFunctions(t *testing.T) {
	w := watch(t, "full", "")
	if _, err := postgres.psql("create or replace function dull() returns int language plpgsql as 'begin return 1; end'"); err != nil {
		t.Fatal(err)
	}
	a := attack(t, w, "")
	sync := &pgproto3.Sync{}
	page := &pgproto3.Execute{Portal: "c", MaxRows: 2}
	for _, turn := range [][]pgproto3.FrontendMessage{
		{parse("s", "select 'it is ' || 'still me'"), parse("rb", "rollback"), parse("cu", "select 'row ' || i from generate_series(1, 6) i"), sync},
		{simple("begin"), bind("c", "cu"), page, sync, simple("select dull()")},
		{page, bind("", "s"), execute(""), sync, simple("select dull()"), page, sync},
		{parse("", "select dull()"), bind("", ""), execute(""), bind("", "s"), shapeOf(""), execute(""), sync},
	} {
		a.send(turn...)
		if said := a.until(batches(turn)); said != "" {
			t.Fatal("said", said)
		}
	}
	if got := a.got.String(); !strings.Contains(got, "row 6") || strings.Count(got, "still me") != 2 {
		t.Error("rows are missing")
	}
	a.send(simple("select dull() / 0"), bind("", "rb"), execute(""), sync, bind("", "s"), execute(""), sync)
	if said := a.until(3); said != " 22012" {
		t.Error("said", said)
	}
}

// What a prepared transaction defines comes into being when somebody commits it.
func TestDefinitionsOfAPreparedTransactionAreNoticed(t *testing.T) {
	w := secretly(t, "redact")
	if _, err := postgres.psql("create or replace view twofold as select id, note from other"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = postgres.psql("drop view twofold") })
	a := attack(t, w, "")
	a.does("select id, note from twofold", "begin", "create or replace view twofold as select id, upper(ssn) as note from secrets")
	if a.does("prepare transaction 'twofold'"); strings.Contains(a.got.String(), "55000") {
		t.Fatal("the server prepares no transactions")
	}
	a.does("select count(*) from other", "commit prepared 'twofold'", "select id, note from twofold", "select note || '!' from twofold")
	leaksIn(t, "the wire", a.got.String())
}
