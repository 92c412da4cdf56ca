package interceptor

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watchEvery is how often a hold looks whether its client has left.
const watchEvery = 200 * time.Millisecond

// errEnd ends a lane and with it the connection, in good order.
var errEnd = errors.New("the conversation is over")

// lastWords is how long an engine has to tell the client why a session failed.
const lastWords = time.Second

// relay drives one opened connection with two goroutines, one a lane.
type relay struct {
	session *Session
	client  net.Conn
	engine  Engine
	mu      sync.Mutex // guards engine; held while it thinks, never during I/O
	lanes   [2]*lane
	left    atomic.Bool   // the engine was told to take its leave
	said    chan struct{} // closed when the lane to the client has stopped
}

// drive moves bytes until the conversation is over; both lanes have
// stopped when it returns, and the connections are the caller's to close. The
// error says why it ended, nil when the peers were done.
func drive(ctx context.Context, c *Conn, engine Engine) error {
	r := &relay{session: c.Session, client: c.Client, engine: engine, said: make(chan struct{})}
	r.lanes[Up] = newLane(r, Up, c.Client, c.Server)
	r.lanes[Down] = newLane(r, Down, c.Server, c.Client)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if r.leave(context.Cause(ctx)) {
			r.lanes[Up].kick()
			_ = c.Server.SetDeadline(time.Unix(1, 0))
			return
		}
		_ = c.Client.SetDeadline(time.Unix(1, 0))
		_ = c.Server.SetDeadline(time.Unix(1, 0))
	})()
	up, down := make(chan error, 1), make(chan error, 1)
	for dir, ended := range []chan error{Up: up, Down: down} {
		l := r.lanes[dir]
		l.buf.load(c.Unread[dir])
		go func() {
			err := l.run(ctx)
			if l.dir == Down {
				close(r.said)
			}
			ended <- err
		}()
	}
	var first, second error
	select {
	case first = <-up:
		if first != nil {
			r.lanes[Down].kick() // a refusal may wait there to be said
			second = r.settle(down, cancel, errors.Is(first, errEnd))
		} else {
			second = <-down
		}
	case first = <-down:
		if first != nil {
			cancel()
		}
		second = <-up
	}
	return outcome(first, second)
}

// leave has the engine tell its client why the session ends; false when that is not to be had, or
// not in time.
func (r *relay) leave(cause error) bool {
	l, speaks := r.engine.(Leaver)
	why := farewell(cause)
	if !speaks || why == "" {
		return false
	}
	r.mu.Lock()
	l.Leave(why)
	r.mu.Unlock()
	r.left.Store(true)
	r.lanes[Down].kick()
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-r.said:
		return true
	case <-timer.C:
		return false
	}
}

// settle gives the lane to the client time for its last words, then ends it. After an end in good order what it
// is writing by then is waited for, for as long as the client takes it.
func (r *relay) settle(ended <-chan error, cancel func(), orderly bool) error {
	writes := r.lanes[Down].writes.Load()
	tick := time.NewTicker(lastWords)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
			if orderly && writes%2 == 1 && r.lanes[Down].writes.Load() == writes {
				continue
			}
			cancel()
			return <-ended
		}
	}
}

// outcome picks the lane error that tells why a connection ended.
func outcome(first, second error) error {
	for _, err := range []error{first, second} {
		if err == nil || errors.Is(err, errEnd) {
			continue
		}
		if errors.Is(first, errEnd) {
			return nil // the second lane was only told to stop
		}
		return err
	}
	return nil
}

// turn lets the engine think about one direction.
func (r *relay) turn(l *lane, in []byte) (int, error) {
	l.out.Reset()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.engine.Feed(l.dir, in, &l.out)
}

func (r *relay) eof(l *lane) error {
	l.out.Reset()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.engine.EOF(l.dir, &l.out)
}

// answer judges the request the engine stopped at.
func (r *relay) answer(ctx context.Context, q Question) {
	a := r.session.judge(ctx, q, r)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session.refresh()
	r.engine.Resume(a)
}

// watchClient calls leave when the client hangs up, until ctx ends.
func (r *relay) watchClient(ctx context.Context, leave func()) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if hungUp(r.client) {
				leave()
				return
			}
		}
	}
}

// tell passes a note to the client of a held request.
func (r *relay) tell(text string) {
	r.mu.Lock()
	r.engine.Tell(text)
	r.mu.Unlock()
	r.lanes[Down].kick()
}

// hungUp says whether the peer of c has closed its half or is gone. Nothing is
// read: what the peer sent before stays where it is.
func hungUp(c net.Conn) bool {
	if wrapped, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = wrapped.NetConn()
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	left := true // a closed connection has no descriptor to control
	_ = raw.Control(func(fd uintptr) { left = gone(int(fd)) })
	return left
}

// gone says whether the peer of a descriptor has closed its half or is gone.
func gone(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0 && poll[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}
