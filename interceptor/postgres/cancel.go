package postgres

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
)

// cancelTime bounds how long a forwarded cancel waits for the server to close.
const cancelTime = 10 * time.Second

// cancels knows which session a client's synthetic key stands for. mu guards byKey.
type cancels struct {
	mu    sync.Mutex
	byKey map[string]*cancelable
}

// cancelable is one session as a CancelRequest can reach it. It is not changed once added.
type cancelable struct {
	session     *interceptor.Session
	identity    string
	destination netip.AddrPort
	pid         uint32
	key         []byte // the server's
	secure      bool   // the upstream leg is TLS
}

// add makes a key for the client, as long as the server's.
func (s *cancels) add(c *cancelable) []byte {
	key := make([]byte, len(c.key))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey == nil {
		s.byKey = map[string]*cancelable{}
	}
	for {
		_, _ = rand.Read(key) // never fails (crypto/rand)
		if _, taken := s.byKey[index(c.pid, key)]; !taken {
			s.byKey[index(c.pid, key)] = c
			return key
		}
	}
}

func (s *cancels) remove(pid uint32, key []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byKey, index(pid, key))
}

func (s *cancels) find(pid uint32, key []byte) *cancelable {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byKey[index(pid, key)]
}

func index(pid uint32, key []byte) string { return fmt.Sprintf("%d %x", pid, key) }

// cancel serves a CancelRequest. Nothing is ever answered, so that a client
// learns nothing of keys that are not its own.
func (p *protocol) cancel(ctx context.Context, c *interceptor.Conn, start *wire.Startup) error {
	found := p.cancels.find(start.PID, start.Key)
	f := c.Session.Flow
	if found == nil || found.identity != f.Identity || found.destination != f.Destination {
		return fmt.Errorf("%w: a cancel request with nobody's key", interceptor.ErrRefused)
	}
	if found.session.CancelHold() {
		return interceptor.ErrServed
	}
	ctx, stop := context.WithTimeout(ctx, cancelTime)
	defer stop()
	secure, err := p.dial(ctx, c)
	if err != nil {
		return fmt.Errorf("cancel: %w", err)
	}
	if secure != found.secure {
		return fmt.Errorf("%w: the cancel's way to the server is not as protected as the session's", interceptor.ErrRefused)
	}
	_ = c.Server.SetDeadline(time.Now().Add(cancelTime))
	if _, err := c.Server.Write(wire.AppendCancel(nil, found.pid, found.key)); err != nil {
		return fmt.Errorf("cancel: %w", err)
	}
	_, _ = io.Copy(io.Discard, c.Server) // the server closes when it has signalled
	return interceptor.ErrServed
}
