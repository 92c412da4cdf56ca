package interceptor

import (
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Loop drives connections on one OS thread with epoll: where thousands of small
// statements pass, waking a goroutine for each costs more than the statement. It
// never waits for anything but epoll: judging, people and the disk are left to
// goroutines, which post back what came of them.
//
// # Why
//
// Two goroutines a connection stay the driver for everything that is not plain
// TCP on both sides (TLS), and for who wants it. Between the two stands only Engine.
type Loop struct {
	epoll int
	event int // eventfd: something was posted
	ends  map[int32]*end
	alone bool // one descriptor only had something to say this round

	mu     sync.Mutex // guards what follows, and event's end
	posted []func()
	closed bool
	gone   bool // event is closed: its number is another file's by now
	ended  chan struct{}
}

// end is one descriptor of a connection.
type end struct {
	fd     int
	events uint32 // what epoll watches it for
	muted  bool   // epoll does not know it at the moment
	reads  *track // whose source it is
	writes *track // whose destination it is
}

// NewLoop starts a loop. Close ends it, once its connections are over.
func NewLoop() (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("loop: %w", err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("loop: %w", err)
	}
	l := &Loop{epoll: epoll, event: event, ends: map[int32]*end{}, ended: make(chan struct{})}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, event, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(event)}); err != nil {
		unix.Close(epoll)
		unix.Close(event)
		return nil, fmt.Errorf("loop: %w", err)
	}
	go l.run()
	return l, nil
}

// Close ends the loop and waits for it. Its connections must be over.
func (l *Loop) Close() error {
	l.mu.Lock()
	l.closed = true
	l.ring()
	l.mu.Unlock()
	<-l.ended
	return nil
}

// post has f run on the loop's thread. After the loop's end, when a timer of a connection may still
// come, it does nothing.
func (l *Loop) post(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return
	}
	l.posted = append(l.posted, f)
	if len(l.posted) == 1 {
		l.ring()
	}
}

// ring wakes the loop's thread. Called under mu.
func (l *Loop) ring() {
	one := uint64(1)
	_, _ = unix.Write(l.event, unsafe.Slice((*byte)(unsafe.Pointer(&one)), 8)) // full: it rings already
}

// loopEvents is how many descriptors one wake-up may bring.
const loopEvents = 128

func (l *Loop) run() {
	runtime.LockOSThread()
	defer close(l.ended)
	defer l.fallSilent()
	defer unix.Close(l.epoll)
	events := make([]unix.EpollEvent, loopEvents)
	for !l.over() {
		n, err := unix.EpollWait(l.epoll, events, -1)
		if err != nil && err != unix.EINTR {
			panic("epoll_wait on our own descriptor: " + err.Error())
		}
		l.alone = n == 1
		for _, e := range events[:max(n, 0)] {
			if e.Fd == int32(l.event) {
				l.work()
				continue
			}
			// An end may have been closed by what came before it in this round.
			if x := l.ends[e.Fd]; x != nil {
				x.ready(e.Events)
			}
		}
	}
}

// fallSilent closes event when nobody writes to it, and so that nobody will.
func (l *Loop) fallSilent() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	unix.Close(l.event)
}

func (l *Loop) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed && len(l.posted) == 0
}

// work runs what was posted.
func (l *Loop) work() {
	var count [8]byte
	_, _ = unix.Read(l.event, count[:])
	l.mu.Lock()
	posted := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, f := range posted {
		f()
	}
}

// ready serves an end that epoll has something to say of.
func (x *end) ready(events uint32) {
	defer x.reads.conn.guard()
	if events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 && x.writes.pending() {
		x.writes.drain()
	}
	lost := events&(unix.EPOLLERR|unix.EPOLLHUP) != 0
	switch {
	case x.reads.conn.over:
	case lost && !x.reads.wantsRead():
		x.lost(events)
	case lost || events&(unix.EPOLLIN|unix.EPOLLRDHUP) != 0:
		x.reads.read()
	}
}

// lost takes note of a peer that is gone while nothing is read from it. Epoll would go
// on saying so: a client's reset ends the connection, and any other end is not watched until something is wanted of it.
func (x *end) lost(events uint32) {
	conn := x.reads.conn
	switch {
	case x == conn.ends[0] && events&unix.EPOLLERR != 0:
		conn.finish(fmt.Errorf("read %s: %w", Up, unix.ECONNRESET))
	case !x.writes.pending() && !x.muted:
		x.muted, x.events = true, 0
		_ = unix.EpollCtl(conn.loop.epoll, unix.EPOLL_CTL_DEL, x.fd, nil) // it is there: muted says so
	}
}

// watch tells epoll what the end waits for.
func (l *Loop) watch(x *end) {
	want := uint32(0)
	if x.reads.wantsRead() {
		want |= unix.EPOLLIN
	}
	if x.writes.pending() {
		want |= unix.EPOLLOUT
	}
	if want == x.events {
		return
	}
	how := unix.EPOLL_CTL_MOD
	if x.muted {
		how = unix.EPOLL_CTL_ADD
	}
	if err := unix.EpollCtl(l.epoll, how, x.fd, &unix.EpollEvent{Events: want, Fd: int32(x.fd)}); err != nil {
		x.reads.conn.finish(fmt.Errorf("watch: %w", err))
		return
	}
	x.events, x.muted = want, false
}
