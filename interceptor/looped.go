package interceptor

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// looped is one connection on a loop. All of it belongs to the loop's thread.
type looped struct {
	loop    *Loop
	session *Session
	engine  Engine
	tracks  [2]*track
	ends    [2]*end // client, server
	ctx     context.Context
	cancel  context.CancelFunc
	why     error // why it ends, once it is known
	over    bool
	done    chan error
	beside  sync.WaitGroup // the goroutines that judge, sync and hang up: drive waits for them
}

// drive serves an opened connection of two plain TCP legs and returns when it is over, and with
// it what was done for it beside the loop; it takes both descriptors over and closes them.
func (l *Loop) drive(ctx context.Context, c *Conn, engine Engine) error {
	client, err := detach(c.Client)
	if err != nil {
		return err
	}
	server, err := detach(c.Server)
	if err != nil {
		unix.Close(client)
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	x := &looped{loop: l, session: c.Session, engine: engine, ctx: ctx, cancel: cancel, done: make(chan error, 1)}
	x.ends = [2]*end{{fd: client}, {fd: server}}
	x.tracks[Up] = &track{conn: x, dir: Up, src: x.ends[0], dst: x.ends[1]}
	x.tracks[Down] = &track{conn: x, dir: Down, src: x.ends[1], dst: x.ends[0]}
	x.ends[0].reads, x.ends[0].writes = x.tracks[Up], x.tracks[Down]
	x.ends[1].reads, x.ends[1].writes = x.tracks[Down], x.tracks[Up]
	x.post(func() { x.begin(c.Unread) })
	stop := context.AfterFunc(ctx, func() { x.post(func() { x.leave(context.Cause(ctx)) }) })
	err = <-x.done
	stop()
	x.beside.Wait()
	return err
}

// post has f run on the loop's thread. An engine that panics ends its own
// connection, not the others'.
func (x *looped) post(f func()) {
	x.loop.post(func() {
		defer x.guard()
		f()
	})
}

func (x *looped) guard() {
	if p := recover(); p != nil {
		x.finish(panicked(p))
	}
}

// caught is guard for goroutines beside the loop.
func (x *looped) caught() {
	if p := recover(); p != nil {
		x.post(func() { x.finish(panicked(p)) })
	}
}

// detach takes a connection's descriptor away from Go's poller, which would
// otherwise be woken along with the loop.
func detach(conn net.Conn) (int, error) {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var failed error
	err = raw.Control(func(own uintptr) { fd, failed = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	if err == nil {
		err = failed
	}
	if err != nil {
		return -1, fmt.Errorf("detach: %w", err)
	}
	return fd, conn.Close()
}

// begin puts the connection on the loop.
func (x *looped) begin(unread [2][]byte) {
	for _, e := range x.ends {
		x.loop.ends[int32(e.fd)] = e
		if err := unix.EpollCtl(x.loop.epoll, unix.EPOLL_CTL_ADD, e.fd, &unix.EpollEvent{Fd: int32(e.fd)}); err != nil {
			x.finish(fmt.Errorf("watch: %w", err))
			return
		}
	}
	for dir, t := range x.tracks {
		t.buf.load(unread[dir])
	}
	for _, t := range x.tracks {
		if !x.over {
			t.feed()
		}
	}
}

// watch brings what epoll watches up to date.
func (x *looped) watch() {
	for _, e := range x.ends {
		if !x.over {
			x.loop.watch(e)
		}
	}
}

// fail ends the connection after an engine's error; an error on the way up
// leaves the engine last words for the client.
func (x *looped) fail(t *track, err error) {
	t.eof = true
	if t.dir == Down {
		x.why, t.last = err, true
		t.settle()
		return
	}
	x.lastWords(err)
}

// leave ends the connection from outside, with the engine's last words if it has any.
func (x *looped) leave(cause error) {
	l, speaks := x.engine.(Leaver)
	why := farewell(cause)
	if x.over || !speaks || why == "" {
		x.finish(cause)
		return
	}
	l.Leave(why)
	x.tracks[Up].eof = true
	x.lastWords(cause)
}

// lastWords gives the engine time to speak to the client, then ends the connection.
func (x *looped) lastWords(why error) {
	x.why = why
	time.AfterFunc(lastWords, func() { x.post(func() { x.finish(why) }) })
	down := x.tracks[Down]
	down.wait = forNothing
	down.feed()
	if !x.over && down.last {
		down.settle()
	}
}

// ask has a request judged by a goroutine.
func (x *looped) ask(t *track, q Question) {
	x.beside.Go(func() {
		defer x.caught()
		a := x.session.judge(x.ctx, q, x)
		x.post(func() {
			if x.over {
				return
			}
			x.session.refresh()
			x.engine.Resume(a)
			t.answered()
		})
	})
}

// sync has the record put on disk by a goroutine, then writes what waited for it.
func (x *looped) sync(t *track) {
	x.beside.Go(func() {
		defer x.caught()
		err := x.session.sync()
		x.post(func() {
			switch {
			case x.over:
			case err != nil:
				x.finish(err)
			default:
				t.synced()
			}
		})
	})
}

// tell implements waiter.
func (x *looped) tell(text string) {
	x.post(func() {
		if !x.over {
			x.engine.Tell(text)
			x.tracks[Down].kick()
		}
	})
}

// watchClient implements waiter: it calls leave when the client hangs up. The
// descriptor is looked at on the loop's thread, which is the one to close it.
func (x *looped) watchClient(ctx context.Context, leave func()) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			x.post(func() {
				if x.over || gone(x.ends[0].fd) {
					leave()
				}
			})
		}
	}
}

// finish takes the connection off the loop and closes it.
func (x *looped) finish(why error) {
	if x.over {
		return
	}
	x.over = true
	x.cancel()
	for _, e := range x.ends {
		delete(x.loop.ends, int32(e.fd))
		_ = unix.EpollCtl(x.loop.epoll, unix.EPOLL_CTL_DEL, e.fd, nil) // closing does it as well
	}
	unix.Close(x.ends[1].fd)
	if x.tracks[Up].eof && x.why == nil {
		unix.Close(x.ends[0].fd)
	} else {
		x.beside.Go(func() { hangUpFD(x.ends[0].fd) })
	}
	x.done <- why
}

// hangUpFD is hangUp for a descriptor that the poller does not know.
func hangUpFD(fd int) {
	defer unix.Close(fd)
	if unix.Shutdown(fd, unix.SHUT_WR) != nil {
		return
	}
	end := time.Now().Add(hangUpTime)
	var sink [4096]byte
	for read := 0; read < hangUpBytes; {
		left := time.Until(end)
		if left <= 0 {
			return
		}
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, int(left.Milliseconds())+1); err == unix.EINTR {
			continue
		} else if err != nil || n == 0 {
			return
		}
		n, err := rawRead(fd, sink[:])
		if err != nil || n == 0 {
			return
		}
		read += n
	}
}
