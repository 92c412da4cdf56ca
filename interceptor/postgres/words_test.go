package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

func TestWhoMistypesIsToldSo(t *testing.T) {
	w := watch(t, "full", "")
	c := connect(t, w, "postgres")
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
		var e *pgconn.PgError
		if _, err := c.Exec(t.Context(), "selec 1", mode); !errors.As(err, &e) || e.Code != "42501" ||
			!strings.HasPrefix(e.Detail, "The statement could not be read") || !strings.HasSuffix(e.Detail, "this rule may mean it. Rule: no-truncate") {
			t.Errorf("%+v", e)
		}
	}
	var e *pgconn.PgError
	if _, err := c.Exec(t.Context(), "truncate plain"); !errors.As(err, &e) || e.Detail != "Rule: no-truncate" {
		t.Errorf("%+v", e)
	}
}

func TestWhoGetsNoSessionIsToldWhy(t *testing.T) {
	w := watch(t, "full", "")
	text, _, _ := strings.Cut(policy("full", "-"), "grants:")
	w.load(text, 2)
	var e *pgconn.PgError
	if _, err := pgx.Connect(t.Context(), w.url("postgres")); !errors.As(err, &e) || e.Severity != "FATAL" ||
		e.Message != "chaperone refused this connection: the identity has no grant on this target" {
		t.Errorf("%+v", e)
	}
}

func TestWhoIsEndedIsToldWhy(t *testing.T) {
	w := watch(t, "full", "")
	a := attack(t, w, "")
	if n := w.server.Kill(func(flow.Flow) bool { return true }); n != 1 {
		t.Fatal(n, "sessions")
	}
	if said := a.until(1); said != " 57P01 end" || !strings.Contains(a.got.String(), "chaperone: ended by an administrator") {
		t.Error("said", said)
	}
}

// Drivers prepare again where a plan's result has changed; they know it by its SQLSTATE.
func TestDriversHearThatAPlanIsOld(t *testing.T) {
	w := secretly(t, "redact")
	a := attack(t, w, "")
	sync := &pgproto3.Sync{}
	a.send(parse("s", "update secrets set ssn = ssn where id = -1 returning *"), sync, bind("", "s"), execute(""), sync)
	a.until(2)
	if _, err := postgres.psql("alter table secrets add column late int"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = postgres.psql("alter table secrets drop column late") })
	a.send(bind("", "s"), execute(""), sync)
	if said := a.until(1); said != " 0A000" {
		t.Error("said", said)
	}
}
