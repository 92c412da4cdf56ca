package postgres

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// nosy reads a masked column in a way that is masked only where the proxy knows what runs.
const (
	nosy = "select upper(ssn) from secrets where id = 1"
	tame = "select 'x'::text"
)

func TestANameStandsForWhatTheServerHasUnderIt(t *testing.T) {
	held := "declare p cursor with hold for " + nosy
	sync := &pgproto3.Sync{}
	for name, turns := range map[string][][]pgproto3.FrontendMessage{
		"a name parsed twice": {
			{parse("a", nosy), sync},
			{parse("a", tame), sync, bind("", "a"), shapeOf(""), execute(""), sync},
		},
		"a name parsed twice, bound in the batch after next": {
			{parse("a", nosy), sync},
			{parse("a", tame), sync, sync, bind("", "a"), execute(""), sync},
		},
		"an unnamed Parse that was skipped": {
			{parse("", nosy), sync},
			{parse("x", "select 1/0"), bind("", "x"), execute(""), parse("", tame), sync, bind("", ""), shapeOf(""), execute(""), sync},
		},
		"a named Parse that was skipped": {
			{parse("a", nosy), sync},
			{shapeOf("nowhere"), parse("a", tame), sync, bind("", "a"), shapeOf(""), execute(""), sync},
		},
		"a Close that was skipped": {
			{parse("a", nosy), sync},
			{shapeOf("nowhere"), &pgproto3.Close{ObjectType: 'S', Name: "a"}, parse("a", tame), sync, bind("", "a"), execute(""), sync},
		},
		"a Bind over a cursor WITH HOLD": {
			{parse("s", tame), sync, simple("begin"), simple(held), simple("commit")},
			{bind("p", "s"), sync, execute("p"), sync},
		},
		"a portal whose name DECLARE took after COMMIT": {
			{parse("s", tame), sync, simple("begin")},
			{bind("p", "s"), execute("p"), sync},
			{simple("commit"), simple("begin"), simple(held), simple("commit")},
			{execute("p"), sync},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := secretly(t, "redact")
			a := attack(t, w, "")
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

// batches counts the messages that a ReadyForQuery answers.
func batches(messages []pgproto3.FrontendMessage) (n int) {
	for _, m := range messages {
		switch m.(type) {
		case *pgproto3.Sync, *pgproto3.Query:
			n++
		}
	}
	return n
}

// alive wants the session to go on.
func (a *attacker) alive() {
	a.t.Helper()
	a.send(simple("rollback"), simple("select 'alive'"))
	if said := a.until(2); said != "" || !strings.Contains(a.got.String(), "alive") {
		a.t.Errorf("the session is over: %s; it got %q", said, a.got.String()[max(0, a.got.Len()-900):])
	}
}

func TestAnApprovalIsForOneRun(t *testing.T) {
	const evil = "drop table prey"
	sync := &pgproto3.Sync{}
	for name, c := range map[string]struct{ approved, again []pgproto3.FrontendMessage }{
		"of a statement": {
			[]pgproto3.FrontendMessage{parse("a", evil), bind("", "a"), execute(""), sync},
			[]pgproto3.FrontendMessage{bind("", "a"), execute(""), sync},
		},
		"not of one whose name seems to be given anew": {
			[]pgproto3.FrontendMessage{parse("a", evil), bind("", "a"), execute(""), sync},
			[]pgproto3.FrontendMessage{parse("a", "select 1"), sync, bind("", "a"), execute(""), sync},
		},
		"not of a second portal": {
			[]pgproto3.FrontendMessage{parse("", evil), bind("x", ""), execute("x"), sync},
			[]pgproto3.FrontendMessage{bind("y", ""), execute("y"), sync},
		},
		"not of a portal bound beside it": {
			[]pgproto3.FrontendMessage{parse("a", evil), bind("x", "a"), execute("x"), sync},
			[]pgproto3.FrontendMessage{bind("x", "a"), bind("y", "a"), execute("y"), execute("x"), sync},
		},
		"not of the same text": {
			[]pgproto3.FrontendMessage{simple(evil)},
			[]pgproto3.FrontendMessage{simple(evil)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t, "full", "")
			w.asker.answers <- flow.AskState{State: "approved"}
			w.deny(5)
			p, a := hunt(t, w), attack(t, w, "")
			a.send(c.approved...)
			if said := a.until(batches(c.approved)); said != "" {
				t.Fatal("the approved run failed:", said)
			}
			p.restore()
			a.send(c.again...)
			if said := a.until(batches(c.again)); !strings.Contains(said, "42501") {
				t.Error("said", said)
			}
			a.alive()
			p.ranOnce(evil)
		})
	}
}

// ranOnce wants the prey alive after a text that ran once.
func (p *prey) ranOnce(text string) {
	p.t.Helper()
	n := 0
	for _, ran := range p.ran() {
		if ran == text {
			n++
		}
	}
	if out, err := postgres.psql("select count(*) from pg_class where relname = 'prey'"); err != nil || out != "1\n" || n != 1 {
		p.t.Errorf("ran %d times, table %q %v", n, out, err)
	}
}

// forgetful denies everything and remembers what an approval would have covered.
type forgetful struct {
	mu    sync.Mutex
	asked []string
}

func (f *forgetful) Ask(_ context.Context, _ *flow.Flow, r *flow.Request, _ rules.Decision) (interceptor.Ask, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r.Fingerprint)
	answers := make(chan flow.AskState, 1)
	answers <- flow.AskState{State: "denied"}
	return oneAsk{answers}, nil
}

// askedBy starts a second proxy like w, whose questions go to asker.
func (w *watched) askedBy(asker interceptor.Asker) {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	s := w.server
	w.port = l.Addr().(*net.TCPAddr).Port
	w.server = &interceptor.Server{Origins: s.Origins, Enrollments: s.Enrollments, Processes: s.Processes, Journal: s.Journal,
		Meter: s.Meter, Policy: s.Policy, Recorder: s.Recorder, Asker: asker, Protocols: s.Protocols, Dial: s.Dial, Log: s.Log}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(ctx, ctx, l) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			w.t.Error(err)
		}
	})
}

func TestAnApprovalIsForWhatTheNameMeantThen(t *testing.T) {
	const evil = "drop table prey"
	for name, c := range map[string]struct {
		options [2]string
		between string
		same    bool
	}{
		"the same session, the same run":               {between: "select 1", same: true},
		"another search_path":                          {between: "set search_path = elsewhere"},
		"another search_path, by set_config":           {between: "select set_config('search_path', 'elsewhere', false)"},
		"another search_path, by a prepared statement": {between: "prepare s as select set_config('search_path', 'elsewhere', false); execute s"},
		"another search_path, by a function":           {between: "do $$ begin set search_path = elsewhere; end $$"},
		"another role":                                 {between: "set role scram"},
		"another session user":                         {between: "set session authorization scram"},
		"other startup options":                        {options: [2]string{"", "-c search_path=elsewhere"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t, "full", "")
			f := &forgetful{}
			w.askedBy(f)
			a := attack(t, w, c.options[0])
			a.does(evil)
			if c.between == "" {
				a = attack(t, w, c.options[1])
			}
			a.does(c.between, evil)
			f.mu.Lock()
			defer f.mu.Unlock()
			if len(f.asked) != 2 || (f.asked[0] == f.asked[1]) != c.same {
				t.Errorf("what was approved covers it: %q", f.asked)
			}
		})
	}
}
