// Package interceptor is the data path: one connection from accept to its last byte.
//
//	accept ── Origins ── Processes ── Enrollments    who, and where to     serve.go
//	   │                                             on which grant        admit.go
//	Protocol.Open ── Dial                            in which language     protocol.go
//	   │
//	lanes (lane.go, relay.go) or a loop (loop.go, track.go, looped.go)     move the bytes
//	   │ feed
//	Engine ── Question ──> judge ── Asker, Journal                         engine.go, judge.go
//	   └──── Tape                                                          session.go
//
// # Why
//
// An engine is a state machine without I/O that works in place on the read
// buffer: what nobody changes leaves in the write that follows the read, and one
// protocol can be driven by goroutines, by a loop or by a test that cuts its bytes at
// any place. Proxies made of io.Copy with hooks, and of codecs that decode and encode each
// message, were turned down: the first cannot hold one request, the second pays
// a system call for every row.
package interceptor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// ErrRefused is what Protocol.Open returns when it has told the client no.
var ErrRefused = errors.New("refused")

// ErrServed is what Protocol.Open returns when the connection's business is done
// with: a PostgreSQL cancel request has no conversation.
var ErrServed = errors.New("served")

// openTimeout bounds everything from accept to where an engine takes over.
const openTimeout = 60 * time.Second

// Origins tells what the kernel remembered of an accepted connection.
type Origins interface {
	Origin(conn syscall.Conn) (flow.Origin, error)
}

// Enrollments knows whose an attach point is.
type Enrollments interface {
	Identity(enrollment uint32) (name string, ok bool)
}

// Processes finds the process behind an origin. What cannot be found is
// Partial; it never fails.
type Processes interface {
	Read(flow.Origin) flow.Process
}

// Recorder begins recordings.
type Recorder interface {
	Begin(session string, f *flow.Flow) (Recording, error)
}

// Recording is a session's tape with its end.
type Recording interface {
	Tape
	End(outcome string) error
}

// Server accepts redirected connections and serves each to its last byte.
// All fields are set before Serve is called and not changed afterwards.
type Server struct {
	Origins     Origins
	Enrollments Enrollments
	Processes   Processes
	Policy      func() *rules.Policy
	Recorder    Recorder
	Asker       Asker
	Journal     Journal
	Meter       Meter
	Protocols   []Protocol
	Dial        func(ctx context.Context, origin flow.Origin) (net.Conn, error)
	// Canary answers the daemon's own test connections; it says whether conn was one.
	Canary func(conn net.Conn, origin flow.Origin) bool
	Log    *slog.Logger
	// Loop drives the connections that are plain TCP on both legs; nil: goroutines drive all.
	Loop *Loop

	// Places bounds the connections an identity may have at a time; 0: an eighth of the descriptors.
	Places int

	live       sessions
	unrecorded atomic.Int64 // refusals that the journal did not take
	crowd      crowd
}

// Serve accepts from l until ctx ends or l is closed, and returns when every
// connection it accepted is over. Connections end when drop ends.
func (s *Server) Serve(ctx, drop context.Context, l net.Listener) error {
	var open sync.WaitGroup
	defer open.Wait()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept: %w", err)
			}
			s.Meter.Refused("accept") // out of descriptors or memory: for as long as others keep them
			time.Sleep(10 * time.Millisecond)
			continue
		}
		open.Go(func() { s.handle(drop, conn) })
	}
}

// handle is one connection's life, with its panic kept to itself.
func (s *Server) handle(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer func() {
		if p := recover(); p != nil {
			s.Meter.Refused("panic")
			s.Log.Error("connection ended by a panic", "panic", fmt.Sprintf("%T", p))
			reset(conn)
		}
	}()
	origin, err := s.Origins.Origin(conn.(syscall.Conn))
	if err != nil {
		s.Meter.Refused("no-origin")
		s.Log.Warn("connection without an origin", "peer", conn.RemoteAddr(), "err", err)
		reset(conn)
		return
	}
	if s.Canary != nil && s.Canary(conn, origin) {
		return
	}
	s.serve(ctx, conn, origin)
}

// serve carries a connection from who and where to its last byte.
func (s *Server) serve(ctx context.Context, conn net.Conn, origin flow.Origin) {
	s.confess()
	f, err := s.flow(origin)
	if !s.crowd.enter(f.Identity, s.places()) {
		s.turnAway(ctx, conn, &f, func() flow.Process { return s.Processes.Read(origin) }, "the identity has as many connections as it may")
		return
	}
	defer s.crowd.leave(f.Identity)
	f.Process = s.Processes.Read(origin)
	if err != nil {
		s.refuse(ctx, conn, &f, nil, err)
		return
	}
	policy := s.Policy()
	in, err := s.admit(policy, &f)
	if err != nil {
		s.refuse(ctx, conn, &f, in.protocol, err)
		return
	}
	tape, err := s.Recorder.Begin(f.ID, &f)
	if err != nil {
		s.Log.Error("session not recorded", "session", f.ID, "err", err)
		s.refuse(ctx, conn, &f, in.protocol, errUnrecorded)
		return
	}
	session := &Session{
		ID: f.ID, Flow: &f, Target: in.target, Level: in.target.Record, Masks: policy.Masks(f.Identity, in.target.Name),
		Tape: tape, Meter: s.Meter, Log: s.Log,
		policy: s.Policy, bound: policy.Generation(), asker: s.Asker, journal: s.Journal,
	}
	ctx, cancel := within(ctx, in.until)
	defer cancel(nil)
	s.live.add(session, cancel)
	defer s.live.remove(session)
	s.Meter.Flow(&f, 1)
	defer s.Meter.Flow(&f, -1)
	err = s.converse(ctx, s.conn(session, conn, origin), in.protocol)
	if err == nil {
		err = session.failure // no lane runs any more
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err := tape.End(ending(err)); err != nil {
		s.Log.Error("session not sealed", "session", f.ID, "err", err)
	}
}

func (s *Server) conn(session *Session, client net.Conn, origin flow.Origin) *Conn {
	return &Conn{Session: session, Client: client, dial: func(ctx context.Context) (net.Conn, error) {
		return s.Dial(ctx, origin)
	}}
}

// flow says whose a connection is and where to. The process is not looked at yet: that costs
// more than the connection is worth of one who is turned away.
func (s *Server) flow(origin flow.Origin) (flow.Flow, error) {
	f := flow.Flow{ID: newID(), Destination: origin.Destination, Seen: flow.Denied, Opened: time.Now()}
	identity, ok := s.Enrollments.Identity(origin.Enrollment)
	f.Identity = identity
	if !ok {
		return f, fmt.Errorf("enrollment %d has no identity", origin.Enrollment)
	}
	return f, nil
}

// converse opens the connection in its protocol and drives it to the end.
func (s *Server) converse(ctx context.Context, c *Conn, p Protocol) error {
	opening, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	client := c.Client // Open may put TLS in its place
	stop := context.AfterFunc(opening, func() { _ = client.SetDeadline(time.Unix(1, 0)) })
	engine, err := p.Open(opening, c)
	if c.Server != nil {
		defer c.Server.Close()
	}
	if err != nil {
		if !errors.Is(err, ErrRefused) && !errors.Is(err, ErrServed) {
			reset(c.Client)
		}
		return fmt.Errorf("open: %w", err)
	}
	if !stop() {
		return fmt.Errorf("open: %w", context.DeadlineExceeded)
	}
	defer hangUp(c.Client)
	if closer, ok := engine.(io.Closer); ok {
		defer closer.Close()
	}
	if s.Loop != nil && isPlain(c.Client) && isPlain(c.Server) {
		return s.Loop.drive(ctx, c, engine)
	}
	return drive(ctx, c, engine)
}

func isPlain(conn net.Conn) bool {
	_, plain := conn.(*net.TCPConn)
	return plain
}

// Closing with unread bytes makes the kernel send a reset, which takes along what
// the client has not read yet: our last words.
const (
	hangUpTime  = time.Second
	hangUpBytes = 1 << 20
)

// hangUp ends a connection so that the client hears what was said last.
func hangUp(conn net.Conn) {
	defer conn.Close()
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return
	}
	_ = conn.SetDeadline(time.Now().Add(hangUpTime)) // the session's end may have let it pass
	if half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, conn, hangUpBytes) // until the client's end, the bound, or the time
	}
}

// reset closes a TCP connection so that its peer sees a reset, not an end.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

// ending puts the end of a session in a few words for the record: one word, and the
// reason behind a colon where there is one.
func ending(err error) string {
	switch {
	case err == nil, errors.Is(err, ErrServed):
		return "closed"
	case errors.Is(err, ErrRefused):
		return "refused" + because(err, ErrRefused)
	case errors.Is(err, errKilled):
		return "killed"
	case errors.Is(err, errGrantOver):
		return "grant-expired"
	case errors.Is(err, context.Canceled):
		return "daemon-stopped"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	}
	return "failed: " + err.Error()
}

// because is what err says behind the sentinel it wraps.
func because(err, sentinel error) string {
	_, reason, _ := strings.Cut(err.Error(), sentinel.Error()+": ")
	if reason == "" {
		return ""
	}
	return ": " + reason
}
