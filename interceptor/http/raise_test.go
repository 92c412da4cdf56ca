package http

import (
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/protocoltest"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// A rule that lets one reading of a request leave HTTP says nothing of another.
func TestEveryReadingNeedsARuleToLeaveHTTP(t *testing.T) {
	for _, path := range []string{"//ws", "/ws;x"} {
		d, _ := talk(t, func(r *flow.Request, _ error) interceptor.Answer {
			a := interceptor.Answer{Verdict: flow.Allow}
			if r.HTTP.Path == "/ws" {
				a.Rule = "sockets"
			}
			return a
		})
		d.Send(interceptor.Up, []byte("GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"))
		if got := d.Written[interceptor.Up]; len(got) > 0 {
			t.Errorf("left HTTP by a path no rule names: %q", got)
		}
	}
}

// What the policy allowed and HTTP refuses is in the host's log.
func TestARefusalToLeaveHTTPIsJournaled(t *testing.T) {
	journal := &protocoltest.Journal{}
	tape := &protocoltest.Tape{}
	allow := func(*flow.Request, error) interceptor.Answer { return interceptor.Answer{Verdict: flow.Allow} }
	d := protocoltest.Start(NewEngine(protocoltest.Session(tape).Journaled(journal)), allow, tape)
	d.Send(interceptor.Up, []byte("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"))
	events := journal.Events()
	if len(events) != 1 || events[0].Verdict.Verdict != flow.Deny || events[0].Verdict.Rule != "(http)" || events[0].Request.HTTP.Path != "/ws" {
		t.Errorf("%+v", events)
	}
}
