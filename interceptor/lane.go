package interceptor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A lane moves one direction of a connection: it reads src, feeds the engine and
// writes what was released to dst. One goroutine runs it, the only reader of
// src and the only writer of dst, so bytes cannot overtake each other.
//
// The other lane never writes here. It kicks: it sets kicked and then
// lets src's read deadline pass, so that this lane wakes and feeds.
type lane struct {
	relay  *relay
	dir    Direction
	src    net.Conn
	dst    net.Conn
	out    Output
	buf    buffer
	writer writer
	writes atomic.Uint64 // counts the beginnings and ends of writes: odd while one is under way
	kicked atomic.Bool
	woken  chan struct{} // holds one token: for a lane that waits without reading
}

// gatherPause is how long a lane waits for more of a result in
// mid-stream: servers write results in small pieces, and every piece is a wake-up of
// both ends (performance: the proxied result is then as fast as a direct one).
const gatherPause = 50 * time.Microsecond

// gatherFrom is the size of a read, in bytes, from which waiting for more pays.
const gatherFrom = 8000

// gather waits for more of a result. Go's timers are too coarse for so short a time.
func gather() {
	pause := unix.NsecToTimespec(int64(gatherPause))
	_ = unix.Nanosleep(&pause, nil) // an early return only means a smaller gain
}

var errTooLarge = errors.New("a message is larger than the engine may hold")

// panicked is what an engine's panic becomes: the end of its session. Its value may
// hold bytes from the wire and is not told.
func panicked(p any) error { return fmt.Errorf("the engine failed (%T)", p) }

// run moves bytes until src ends (nil) or something fails.
func (l *lane) run(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	if err := l.feed(ctx); err != nil {
		return err
	}
	for {
		n, err := l.src.Read(l.buf.space())
		l.buf.add(n)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = l.wake()
			if ctx.Err() != nil { // the deadline that passed may have been the session's end
				return l.leave(ctx)
			}
		}
		if n > 0 || err == nil {
			if err := l.feed(ctx); err != nil {
				return err
			}
		}
		if err != nil {
			return l.end(err)
		}
		if l.out.Gather && n >= gatherFrom {
			gather()
		}
	}
}

// leave ends the lane from outside, with the engine's last words if it has any.
func (l *lane) leave(ctx context.Context) error {
	if l.dir == Down && l.relay.left.Load() {
		if err := l.feed(ctx); err != nil {
			return err
		}
	}
	return errEnd
}

// feed gives the engine what is unread, until it wants more bytes than there are.
func (l *lane) feed(ctx context.Context) error {
	for {
		in := l.buf.unread()
		n, err := l.relay.turn(l, in)
		l.buf.consume(n)
		if err := l.flush(); err != nil {
			return err
		}
		switch {
		case err != nil:
			return err
		case l.out.End:
			return errEnd
		case l.out.Question != nil:
			l.relay.answer(ctx, l.out.Question)
		case l.out.Stalled:
			if err := l.await(ctx); err != nil {
				return err
			}
		case n == len(in), n == 0 && l.buf.grow():
			return nil
		case n == 0:
			return errTooLarge
		}
	}
}

// flush writes what the engine released, its record first.
func (l *lane) flush() error {
	if l.out.Kick {
		defer l.relay.lanes[1-l.dir].kick()
	}
	if l.out.Size() == 0 {
		return nil
	}
	if l.out.Durable {
		if err := l.relay.session.sync(); err != nil {
			return err
		}
	}
	l.relay.session.Meter.Bytes(l.relay.session.Flow.Identity, l.dir, l.out.Size())
	l.writes.Add(1)
	err := l.writer.write(l.dst, &l.out)
	l.writes.Add(1)
	if err != nil {
		return fmt.Errorf("write %s: %w", l.dir, err)
	}
	return nil
}

// kick makes the lane feed again soon. It never blocks.
func (l *lane) kick() {
	l.kicked.Store(true)
	_ = l.src.SetReadDeadline(time.Unix(1, 0)) // a closed connection has no lane to wake
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

// wake takes the kick off. The deadline is lifted before the flag falls: a
// kick in between shortens the next read for nothing, and none is lost.
func (l *lane) wake() error {
	err := l.src.SetReadDeadline(time.Time{})
	l.kicked.Store(false)
	return err
}

// await blocks a stalled lane until the other one kicks it.
func (l *lane) await(ctx context.Context) error {
	for !l.kicked.Load() {
		select {
		case <-ctx.Done():
			return errEnd
		case <-l.woken:
		}
	}
	return l.wake()
}

// end tells the engine that src is at its end, and closes dst's half.
func (l *lane) end(cause error) error {
	if !errors.Is(cause, io.EOF) {
		return fmt.Errorf("read %s: %w", l.dir, cause)
	}
	if err := l.relay.eof(l); err != nil {
		return err
	}
	if err := l.flush(); err != nil {
		return err
	}
	if l.out.End {
		return errEnd
	}
	if half, ok := l.dst.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errEnd
}

func newLane(r *relay, dir Direction, src, dst net.Conn) *lane {
	return &lane{relay: r, dir: dir, src: src, dst: dst, woken: make(chan struct{}, 1)}
}
