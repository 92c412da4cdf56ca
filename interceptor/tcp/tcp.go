// Package tcp carries connections nobody can look into: allowed or denied
// whole, recorded as bytes and counts.
//
// # Why
//
// A target whose language Chaperone does not speak still has an owner, a grant
// and a record. Guessing at its content was turned down: half an
// understanding would be shown as a whole one, so the flow says opaque.
package tcp

import (
	"context"
	"fmt"
	"net"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Protocol is "tcp".
type Protocol struct{}

// New makes the protocol.
func New() *Protocol { return &Protocol{} }

// Name is "tcp".
func (*Protocol) Name() string { return "tcp" }

// Sniff never claims a connection: bytes without a known language are not a language.
func (*Protocol) Sniff([]byte) bool { return false }

// Open dials. Whether anything may pass is asked by the engine, at once.
func (*Protocol) Open(ctx context.Context, c *interceptor.Conn) (interceptor.Engine, error) {
	c.Session.Flow.Seen = flow.Opaque
	if err := c.Dial(ctx); err != nil {
		return nil, fmt.Errorf("open tcp: %w", err)
	}
	return NewEngine(c.Session), nil
}

// Refuse resets the connection: tcp has no words.
func (*Protocol) Refuse(_ context.Context, c *interceptor.Conn, _ interceptor.Answer) {
	if conn, ok := c.Client.(*net.TCPConn); ok {
		_ = conn.SetLinger(0)
	}
	c.Client.Close()
}
