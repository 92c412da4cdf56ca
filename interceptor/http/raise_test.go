package http

import (
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor"
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
