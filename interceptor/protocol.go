package interceptor

import (
	"context"
	"net"
)

// A Protocol is one language Chaperone speaks. It opens connections with real
// I/O, bounded and slow; the engine it returns then sees every byte.
// A Protocol is shared by all connections; what it remembers is behind its own lock.
type Protocol interface {
	Name() string
	// Sniff says whether a client's first bytes (at most 64) speak this
	// protocol. It is asked only where no target names the protocol.
	Sniff(first []byte) bool
	// Open carries the connection from its first byte to where an engine can
	// take over: it reads the client's greeting, calls c.Dial, and leaves what it
	// read too far in c.Unread. It refuses in the protocol's own words; then
	// it returns ErrRefused. ctx bounds it.
	Open(ctx context.Context, c *Conn) (Engine, error)
	// Refuse tells a client why it gets no session at all. Best effort;
	// the caller closes the connection. c has no server and cannot dial, and its
	// session has a flow and nothing to record with.
	Refuse(ctx context.Context, c *Conn, a Answer)
}

// Conn is a connection while it is opened.
type Conn struct {
	Session *Session
	Client  net.Conn // may be replaced by Open (TLS)
	Server  net.Conn // set by Dial, may be replaced by Open (TLS)
	// Unread holds bytes that were read from either side and belong to the
	// engine; the driver feeds them first.
	Unread [2][]byte

	dial func(ctx context.Context) (net.Conn, error)
}

// Dial connects to the server the client wanted, from the same network
// namespace, and sets c.Server. The driver closes it.
func (c *Conn) Dial(ctx context.Context) error {
	server, err := c.dial(ctx)
	if err != nil {
		return err
	}
	c.Server = server
	return nil
}
