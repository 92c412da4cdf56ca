package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
)

// greeting is a client's opening: at most one GSSENCRequest, at most one TLS
// negotiation, then a startup packet.
type greeting struct {
	conn     net.Conn
	read     []byte // bytes already read and not used
	secure   bool   // the client leg is TLS, ended here
	declined bool   // the client asked for TLS and was told no
	asked    [2]bool
}

var (
	errInsistsOnTLS = errors.New("the client left when TLS was declined; it insists on TLS: set the target's tls.client to terminate")
	errPipelined    = errors.New("bytes in clear behind a TLS request")
	errNoTLS        = errors.New("the client speaks TLS at once; set the target's tls.client to terminate")
)

// Open carries a connection to the point where its startup packet may be sent.
func (p *protocol) Open(ctx context.Context, c *interceptor.Conn) (interceptor.Engine, error) {
	g := &greeting{conn: c.Client, read: c.Unread[interceptor.Up]}
	start, err := g.startup(p.terminator(c))
	c.Client, c.Unread[interceptor.Up] = g.conn, g.read
	if err != nil {
		return nil, g.explain(err)
	}
	if start.Code == wire.CancelRequest {
		return nil, p.cancel(ctx, c, start)
	}
	if len(g.read) > 0 {
		return nil, refuseOpen(c.Client, "08P01", errPipelined.Error(), "")
	}
	if start.Major() != 3 {
		return nil, refuseOpen(c.Client, "0A000", "chaperone speaks protocol 3 only", "")
	}
	secure, err := p.dial(ctx, c)
	if err != nil {
		return nil, refuseOpen(c.Client, "08001", "chaperone cannot reach the server: "+err.Error(), "")
	}
	return p.engine(c, start, secure), nil
}

// Refuse reads what the client says first, so that it reads the answer, and says no.
func (p *protocol) Refuse(_ context.Context, c *interceptor.Conn, a interceptor.Answer) {
	g := &greeting{conn: c.Client, read: c.Unread[interceptor.Up]}
	start, err := g.startup(nil)
	if err != nil || start.Code == wire.CancelRequest {
		return
	}
	r := refusedConnection(a)
	_ = refuseOpen(g.conn, r.code, r.message, r.hint) // best effort
}

// startup negotiates until a startup packet or a cancel request comes.
// terminate is nil when the client leg stays clear.
func (g *greeting) startup(terminate func(net.Conn) (net.Conn, error)) (*wire.Startup, error) {
	for {
		direct, err := g.hello()
		if err != nil {
			return nil, err
		}
		if direct {
			if terminate == nil || g.secure {
				return nil, errNoTLS
			}
			if err := g.secured(terminate); err != nil {
				return nil, err
			}
			continue
		}
		s, err := g.packet()
		if err != nil {
			return nil, err
		}
		if s.Code != wire.SSLRequest && s.Code != wire.GSSENCRequest {
			return s, nil
		}
		if err := g.negotiate(s.Code, terminate); err != nil {
			return nil, err
		}
	}
}

// negotiate answers one request for encryption.
func (g *greeting) negotiate(code uint32, terminate func(net.Conn) (net.Conn, error)) error {
	kind := code - wire.SSLRequest
	if g.asked[kind] || len(g.read) > 0 {
		return errPipelined
	}
	g.asked[kind] = true
	yes := code == wire.SSLRequest && terminate != nil && !g.secure
	answer := []byte{'N'}
	if yes {
		answer[0] = 'S'
	}
	if _, err := g.conn.Write(answer); err != nil {
		return fmt.Errorf("answer a TLS request: %w", err)
	}
	if yes {
		return g.secured(terminate)
	}
	g.declined = g.declined || code == wire.SSLRequest
	return nil
}

// secured ends TLS on the client leg.
func (g *greeting) secured(terminate func(net.Conn) (net.Conn, error)) error {
	conn, err := terminate(&unreadConn{Conn: g.conn, read: g.read})
	if err != nil {
		return fmt.Errorf("tls with the client: %w", err)
	}
	g.conn, g.read, g.secure = conn, nil, true
	return nil
}

// hello says whether the client starts with a TLS ClientHello.
func (g *greeting) hello() (bool, error) {
	if err := g.need(1); err != nil {
		return false, err
	}
	return g.read[0] == 0x16, nil
}

// packet reads one startup packet.
func (g *greeting) packet() (*wire.Startup, error) {
	if err := g.need(8); err != nil {
		return nil, err
	}
	size, err := wire.StartupSize(g.read)
	if err != nil {
		return nil, fmt.Errorf("startup packet: %w", err)
	}
	if err := g.need(size); err != nil {
		return nil, err
	}
	packet := g.read[:size:size]
	g.read = g.read[size:]
	s, err := wire.ParseStartup(packet)
	if err != nil {
		return nil, fmt.Errorf("startup packet of %d bytes: %w", size, err)
	}
	return s, nil
}

// need reads until n bytes are there.
func (g *greeting) need(n int) error {
	for len(g.read) < n {
		var chunk [1024]byte
		k, err := g.conn.Read(chunk[:])
		g.read = append(g.read[:len(g.read):len(g.read)], chunk[:k]...)
		if err != nil && len(g.read) < n {
			return fmt.Errorf("read the greeting: %w", err)
		}
	}
	return nil
}

// explain adds what is known of why a client left.
func (g *greeting) explain(err error) error {
	if g.declined && errors.Is(err, io.EOF) {
		return errInsistsOnTLS
	}
	return err
}

// unreadConn gives bytes back that were read before TLS was known to begin.
type unreadConn struct {
	net.Conn
	read []byte
}

func (u *unreadConn) Read(p []byte) (int, error) {
	if len(u.read) > 0 {
		n := copy(p, u.read)
		u.read = u.read[n:]
		return n, nil
	}
	return u.Conn.Read(p)
}

// NetConn lets the driver see the socket.
func (u *unreadConn) NetConn() net.Conn { return u.Conn }

// SyscallConn lets the driver see whether the client has left.
func (u *unreadConn) SyscallConn() (syscall.RawConn, error) {
	sc, ok := u.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return sc.SyscallConn()
}
