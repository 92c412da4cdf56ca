package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// attacker is a client that pipelines what no driver would, and keeps every byte it gets.
type attacker struct {
	t    *testing.T
	conn net.Conn
	wire *pgproto3.Frontend
	got  bytes.Buffer
}

// attack opens a session. The server logs what it runs.
func attack(t *testing.T, w *watched, options string) *attacker {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", w.port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // a session that hangs is a failure
	a := &attacker{t: t, conn: conn}
	a.wire = pgproto3.NewFrontend(io.TeeReader(conn, &a.got), conn)
	a.send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersionNumber, Parameters: map[string]string{
		"user": "postgres", "database": "postgres", "options": "-c log_statement=all " + options}})
	if said := a.until(1); said != "" {
		t.Fatal("no session: ", said)
	}
	return a
}

// send writes messages in one piece.
func (a *attacker) send(messages ...pgproto3.FrontendMessage) {
	a.t.Helper()
	for _, m := range messages {
		a.wire.Send(m)
	}
	if err := a.wire.Flush(); err != nil {
		a.t.Fatal(err)
	}
}

// until reads to the nth ReadyForQuery, or the session's end, and tells the SQLSTATEs of errors.
func (a *attacker) until(n int) (said string) {
	a.t.Helper()
	for n > 0 {
		m, err := a.wire.Receive()
		if e, timeout := err.(net.Error); timeout && e.Timeout() {
			a.t.Fatal("the session hangs; before: ", said)
		}
		if err != nil {
			return said + " end"
		}
		switch m := m.(type) {
		case *pgproto3.ErrorResponse:
			said += " " + m.Code
		case *pgproto3.ReadyForQuery:
			n--
		}
	}
	return said
}

// does sends texts one by one and awaits each.
func (a *attacker) does(texts ...string) {
	a.t.Helper()
	for _, text := range texts {
		if a.send(simple(text)); strings.Contains(a.until(1), "end") {
			a.t.Fatal("the session ended at ", text)
		}
	}
}

func simple(text string) *pgproto3.Query { return &pgproto3.Query{String: text} }

func parse(name, text string) *pgproto3.Parse { return &pgproto3.Parse{Name: name, Query: text} }

func bind(portal, statement string) *pgproto3.Bind {
	return &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: statement}
}

func execute(portal string) *pgproto3.Execute { return &pgproto3.Execute{Portal: portal} }

// shapeOf asks for a portal's shape.
func shapeOf(portal string) *pgproto3.Describe {
	return &pgproto3.Describe{ObjectType: 'P', Name: portal}
}

// prey is a table that an attack is after, and the log since.
type prey struct {
	t    *testing.T
	w    *watched
	from int64 // in the server's log, bytes
}

func hunt(t *testing.T, w *watched) *prey {
	t.Helper()
	p := &prey{t: t, w: w}
	p.restore()
	log, err := os.Stat(postgres.dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	p.from = log.Size()
	return p
}

func (p *prey) restore() {
	p.t.Helper()
	if _, err := postgres.psql("set client_min_messages = error; drop table if exists prey; create table prey (a int)"); err != nil {
		p.t.Fatal(err)
	}
}

// ran lists the texts the server says it ran for attackers, first lines only.
func (p *prey) ran() (texts []string) {
	p.t.Helper()
	log, err := os.ReadFile(postgres.dir + "/log")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)LOG:  (?:statement|execute [^:]*): (.*)$`).FindAllSubmatch(log[p.from:], -1) {
		texts = append(texts, string(m[1]))
	}
	return texts
}

// denials counts the tape's notes of a text that was denied.
func (p *prey) denials(text string) (n int) {
	p.w.tapes.mu.Lock()
	defer p.w.tapes.mu.Unlock()
	for _, one := range p.w.tapes.all {
		for _, e := range one.entries {
			var note interceptor.TapeNote
			if e.kind == interceptor.TapeVerdict && json.Unmarshal(e.body, &note) == nil &&
				note.Request != nil && note.Request.Text == text && note.Verdict.Verdict == flow.Deny {
				n++
			}
		}
	}
	return n
}

// survived wants the prey alive, text run so many times, and everything that ran on tape.
func (p *prey) survived(text string, times int) {
	p.t.Helper()
	if out, err := postgres.psql("select count(*) from pg_class where relname = 'prey'"); err != nil || out != "1\n" {
		p.t.Errorf("the table is gone: %q %v", out, err)
	}
	tape, n := p.w.tapes.everything(interceptor.TapeUp), 0
	for _, ran := range p.ran() {
		if ran == text {
			n++
		}
		if !strings.Contains(tape, ran) {
			p.t.Errorf("ran, and is not on tape: %s", ran)
		}
	}
	if n != times {
		p.t.Errorf("%s ran %d times, not %d: %q", text, n, times, p.ran())
	}
	if p.denials(text) == 0 {
		p.t.Errorf("nobody denied %s", text)
	}
}

// deny answers the next n asks.
func (w *watched) deny(n int) {
	for range n {
		w.asker.answers <- flow.AskState{State: "denied"}
	}
}

// late reads one text only when it is told to.
type late struct {
	sqlread.Reader
	text string
	now  chan struct{}
}

func (l late) Read(ctx context.Context, text string) (*sqlread.Reading, error) {
	if text == l.text {
		<-l.now
	}
	return l.Reader.Read(ctx, text)
}

func TestAnAnswerIsNotInherited(t *testing.T) {
	const skipped, evil = "select 6 * 7", "drop table prey"
	for name, after := range map[string][]pgproto3.FrontendMessage{
		"by a Query behind the Sync": {&pgproto3.Sync{}, simple(evil), simple("select 1")},
		"by a Parse behind the Sync": {&pgproto3.Sync{}, parse("", evil), bind("", ""), execute(""), &pgproto3.Sync{}, simple("select 1")},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t, "full", "")
			w.deny(5)
			gate := late{sqlread.Local{}, skipped, make(chan struct{})}
			w.server.Protocols[0].(*protocol).reader = gate
			p, a := hunt(t, w), attack(t, w, "")
			// The server errs while the question about the Parse is out, and skips it.
			a.send(append([]pgproto3.FrontendMessage{shapeOf("nowhere"), parse("z", skipped)}, after...)...)
			for m, err := a.wire.Receive(); ; m, err = a.wire.Receive() {
				if _, failed := m.(*pgproto3.ErrorResponse); failed || err != nil {
					break
				}
			}
			close(gate.now)
			if said := a.until(3); said != " 42501" {
				t.Error("said", said)
			}
			p.survived(evil, 0)
			if left := len(w.asker.answers); left != 4 {
				t.Errorf("%d asks, not 1", 5-left)
			}
		})
	}
}

// evilQuoted is one harmless string with standard_conforming_strings on, and a DROP with it off.
const evilQuoted = `select '\' , '; drop table prey; --'`

func TestTextsAreNotReadUnderSettingsOfYesterday(t *testing.T) {
	const off = "-c standard_conforming_strings=off"
	const view = "create or replace view tunes as select set_config('standard_conforming_strings', 'off', false)"
	const function = "create or replace function tunes() returns text language sql as $$ select set_config('standard_conforming_strings', 'off', false) $$"
	for _, c := range []struct {
		name, options string
		before        []string
		last          string
	}{
		{"SET", "", nil, "set standard_conforming_strings = off"},
		{"ROLLBACK", off, []string{"begin", "set standard_conforming_strings = on"}, "rollback"},
		{"ROLLBACK of SET LOCAL", off, []string{"begin", "set local standard_conforming_strings = on"}, "rollback"},
		{"ROLLBACK TO", off, []string{"begin", "savepoint a", "set standard_conforming_strings = on"}, "rollback to a"},
		{"COMMIT of SET LOCAL", off, []string{"begin", "set local standard_conforming_strings = on"}, "commit"},
		{"COMMIT of what failed", off, []string{"begin", "set standard_conforming_strings = on", "select 1/0"}, "commit"},
		{"DISCARD ALL", off, []string{"set standard_conforming_strings = on"}, "discard all"},
		{"a view", "", []string{view}, "select * from tunes"},
		{"a function", "", []string{function}, "select tunes()"},
		{"EXECUTE", "", []string{"prepare s as select set_config('standard_conforming_strings', 'off', false)"}, "execute s"},
		{"FETCH", "", []string{"begin", "declare s cursor for select set_config('standard_conforming_strings', 'off', false)"}, "fetch s"},
	} {
		t.Run("after "+c.name, func(t *testing.T) {
			w := watch(t, "full", "")
			w.deny(5)
			p, a := hunt(t, w), attack(t, w, c.options)
			a.does(c.before...)
			a.send(simple(c.last), simple(evilQuoted), simple("rollback"))
			if said := a.until(3); !strings.HasPrefix(said, " 42501") {
				t.Error("said", said)
			}
			p.survived(evilQuoted, 0)
		})
	}
}
