package postgres

import "testing"

// What is remembered of a text and its result is that of what the text means now.
func TestTheSameTextOfSomethingElse(t *testing.T) {
	w := secretly(t, "redact")
	if _, err := postgres.psql(`drop schema if exists tame cascade; create schema tame;
create table tame.secrets2 (note text); insert into tame.secrets2 values ('note');
drop view if exists public.secrets2; create view public.secrets2 as select ssn::text as note from secrets where id = 1`); err != nil {
		t.Fatal(err)
	}
	a, b := attack(t, w, ""), attack(t, w, "")
	const plain, computed, of = "select note from secrets2", "select upper(note) from tame.secrets2", "select note from other limit 1"
	for range 2 {
		got := a.asks("set search_path = tame", plain, plain, "set search_path = public", plain, plain)
		if want := "note note [masked] [masked] "; got != want {
			t.Errorf("%q, not %q", got, want)
		}
		if got := a.asks(of, of); got != "note note " {
			t.Error(got)
		}
	}
	before := a.asks(computed, computed)
	b.asks("drop table tame.secrets2; create view tame.secrets2 as select ssn::text as note from public.secrets where id = 1")
	if after := a.asks(computed, computed); before != "[masked] [masked] " || after != "[masked] [masked] " {
		t.Errorf("%q, then %q", before, after) // where search_path leads is not known, so a name is of every schema
	}
	b.asks("drop view public.secrets2; drop view tame.secrets2; create table tame.secrets2 as select 'note'::text as note")
	if got := a.asks(computed, computed); got != "NOTE NOTE " {
		t.Error("once no view has the name:", got)
	}
	b.asks("drop table tame.secrets2; create view tame.secrets2 as select ssn::text as note from public.secrets where id = 1")
	if got := a.asks(computed, computed); got != "[masked] [masked] " {
		t.Error("once one has it again:", got)
	}
	leaksIn(t, "gists", a.got.String())
}

func TestSessionsWithTheSameMasksShareAView(t *testing.T) {
	w := secretly(t, "redact")
	a, b := attack(t, w, ""), attack(t, w, "")
	a.asks("select 1")
	b.asks("select 1")
	catalog := w.server.Protocols[0].(*protocol).catalogs.of(database{w.destination(), "postgres"})
	catalog.mu.Lock()
	defer catalog.mu.Unlock()
	if n := len(catalog.views); n != 1 {
		t.Errorf("%d views", n)
	}
}
