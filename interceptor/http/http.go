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
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"time"

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
		say(c.Client, unreachable(c.Session.Flow.Destination, err))
		return nil, fmt.Errorf("open http: %w: %w", interceptor.ErrRefused, err)
	}
	return NewEngine(c.Session), nil
}

// Refuse answers the first request with 403; the connection ends with it.
func (*Protocol) Refuse(_ context.Context, c *interceptor.Conn, a interceptor.Answer) {
	p := refusal(a)
	p.shut = true
	say(c.Client, p)
}

// Bounds of a farewell.
const (
	sayTime  = time.Second
	sayDrain = 256 << 10 // bytes
)

// say answers a connection's first request and ends it. Clients take a response that
// comes before their request for an error, and what they sent that is unread when the
// connection closes would reset it and take the response along: so it waits for
// first words and reads on for a moment.
func say(client net.Conn, p problem) {
	_ = client.SetDeadline(time.Now().Add(sayTime))
	first := make([]byte, 4<<10)
	n, err := client.Read(first)
	if err != nil {
		return
	}
	method := wire.OtherMethod
	if bytes.HasPrefix(first[:n], []byte("HEAD ")) {
		method = wire.HeadMethod
	}
	if _, err := client.Write(p.append(nil, method)); err != nil {
		return
	}
	if half, ok := client.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, client, sayDrain)
}
