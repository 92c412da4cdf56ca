// Package http watches HTTP/1.x: one question per request, refusals as
// problem+json, masks on what comes back.
//
// # Why
//
// Its framing is its own (wire): bytes leave as they came, in the buffer they
// were read into, and requests and responses stay matched on one connection
// each way. httputil.ReverseProxy was turned down: it rewrites headers, pools
// connections of different subagents, and costs three times as much.
package http

import (
	"context"
	"fmt"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/http/wire"
)

// Protocol is "http".
type Protocol struct{}

// New makes the protocol.
func New() *Protocol { return &Protocol{} }

// Name is "http".
func (*Protocol) Name() string { return "http" }

// Sniff says whether first looks like a request line.
func (*Protocol) Sniff(first []byte) bool {
	for i, c := range first {
		switch {
		case 'A' <= c && c <= 'Z', c == '-' && i > 0:
			continue
		case c == ' ' && i >= 3 && i+1 < len(first):
			return first[i+1] == '/' || first[i+1] == '*' || first[i+1]|0x20 == 'h'
		}
		return false
	}
	return false
}

// Open dials; the first request is the engine's.
func (*Protocol) Open(ctx context.Context, c *interceptor.Conn) (interceptor.Engine, error) {
	if err := c.Dial(ctx); err != nil {
		p := problem{status: 502, title: "Bad Gateway", detail: "the server cannot be reached", shut: true}
		_, _ = c.Client.Write(p.append(nil, wire.OtherMethod))
		return nil, fmt.Errorf("open http: %w", err)
	}
	return NewEngine(c.Session), nil
}

// Refuse answers 403, before or after the request: the connection ends with it.
func (*Protocol) Refuse(_ context.Context, c *interceptor.Conn, a interceptor.Answer) {
	p := refusal(a)
	p.shut = true
	_, _ = c.Client.Write(p.append(nil, wire.OtherMethod))
}
