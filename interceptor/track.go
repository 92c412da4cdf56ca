package interceptor

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A track is a lane on a loop: one direction of one connection. Everything in it
// belongs to the loop's thread.
type track struct {
	conn *looped
	dir  Direction
	src  *end
	dst  *end
	buf  buffer
	out  Output
	rest []byte // written by the engine, not yet taken by dst
	wait waiting
	eof  bool // src is at its end
	shut bool // dst's half is closed
	last bool // the conversation ends when rest is written

	syncing bool // the record of what is in rest is not on disk yet
	feeding bool // feed is on the stack
	again   bool // and was asked for meanwhile
}

// waiting says what a track that does not read waits for.
type waiting uint8

const (
	forNothing waiting = iota
	forAnswer          // a question is out
	forKick            // the engine stalled
)

// pending says that bytes wait for dst to take them.
func (t *track) pending() bool { return len(t.rest) > 0 && !t.syncing }

// free says that the engine can be fed: dst has taken all, and nothing is waited for.
func (t *track) free() bool { return t.wait == forNothing && len(t.rest) == 0 && !t.syncing }

func (t *track) wantsRead() bool { return !t.eof && t.free() }

// read takes what src has, once, and feeds it.
func (t *track) read() {
	if !t.wantsRead() {
		t.conn.watch()
		return
	}
	space := t.buf.space()
	n, err := rawRead(t.src.fd, space)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return
	case err != nil:
		t.conn.finish(fmt.Errorf("read %s: %w", t.dir, err))
		return
	case n == 0:
		t.eof = true
		t.end()
		return
	}
	t.buf.add(n)
	t.feed()
	// More of a result comes soon. Where others wait for the loop, it piles up without a pause.
	if t.out.Gather && n >= gatherFrom && t.conn.loop.alone && t.wantsRead() {
		gather()
	}
}

// feed gives the engine what is unread until it wants more bytes than there are.
// Tracks kick each other: one that is being fed is only told to go round again.
func (t *track) feed() {
	if t.feeding {
		t.again = true
		return
	}
	t.feeding = true
	for more := true; more && t.free() && !t.conn.over; {
		more = t.step() || t.again
		t.again = false
	}
	t.feeding = false
	if !t.conn.over {
		t.conn.watch()
	}
}

// step feeds once; it says whether feeding at once again may help.
func (t *track) step() bool {
	c, in := t.conn, t.buf.unread()
	t.out.Reset()
	n, err := c.engine.Feed(t.dir, in, &t.out)
	t.buf.consume(n)
	t.release()
	stuck := n == 0 && len(in) > 0 && !t.buf.grow()
	switch {
	case c.over:
		return false
	case err != nil:
		c.fail(t, err)
		return false
	case t.out.End:
		t.last = true
		t.settle()
		return false
	case t.out.Question != nil:
		t.wait, stuck = forAnswer, false
		c.ask(t, t.out.Question)
	case t.out.Stalled:
		t.wait, stuck = forKick, false
	}
	if stuck {
		c.finish(errTooLarge)
		return false
	}
	if t.out.Kick {
		c.tracks[1-t.dir].kick()
	}
	return n > 0 && n < len(in)
}

// release writes what the engine released, or keeps it until its record is on disk.
func (t *track) release() {
	if t.out.Size() == 0 {
		return
	}
	s := t.conn.session
	s.Meter.Bytes(s.Flow.Identity, t.dir, t.out.Size())
	if t.out.Durable {
		t.keep(0)
		t.syncing = true
		t.conn.sync(t)
		return
	}
	n, err := t.write()
	if err != nil {
		t.conn.finish(fmt.Errorf("write %s: %w", t.dir, err))
		return
	}
	t.keep(n)
}

// maxParts is how many parts one system call takes (UIO_MAXIOV).
const maxParts = 1024

// write offers dst as much as one system call takes.
func (t *track) write() (int, error) {
	parts := t.out.Parts()
	if len(parts) == 1 {
		return rawWrite(t.dst.fd, parts[0])
	}
	n, err := unix.Writev(t.dst.fd, parts[:min(len(parts), maxParts)])
	if err == unix.EAGAIN || err == unix.EINTR {
		return 0, nil
	}
	return n, err
}

// keep copies what was released behind its first n bytes: the engine's buffers do not last.
func (t *track) keep(n int) {
	for _, p := range t.out.Parts() {
		if n >= len(p) {
			n -= len(p)
			continue
		}
		t.rest = append(t.rest, p[n:]...)
		n = 0
	}
}

// drain writes what is left, now that dst takes more.
func (t *track) drain() {
	n, err := rawWrite(t.dst.fd, t.rest)
	if err != nil {
		t.conn.finish(fmt.Errorf("write %s: %w", t.dir, err))
		return
	}
	t.rest = append(t.rest[:0], t.rest[n:]...)
	if len(t.rest) > 0 {
		return
	}
	if cap(t.rest) > readBuffer {
		t.rest = nil
	}
	t.settle()
	if !t.conn.over {
		t.feed()
	}
}

// settle does what waited for the last byte to be written.
func (t *track) settle() {
	c := t.conn
	switch {
	case len(t.rest) > 0 || t.syncing:
		c.watch()
	case t.last && t.dir == Up && c.why == nil && len(c.tracks[Down].rest) > 0:
		c.tracks[Down].last = true // the client has yet to take what was released for it
		c.watch()
	case t.last:
		c.finish(c.why)
	case t.eof && !t.shut && t.free():
		t.shut = true
		_ = unix.Shutdown(t.dst.fd, unix.SHUT_WR) // a peer that is gone is seen by the other track
		if c.tracks[1-t.dir].shut {
			c.finish(c.why)
		}
	}
}

// end tells the engine that src is at its end.
func (t *track) end() {
	t.out.Reset()
	err := t.conn.engine.EOF(t.dir, &t.out)
	t.release()
	if t.conn.over {
		return
	}
	if err != nil {
		t.conn.fail(t, err)
		return
	}
	t.last = t.last || t.out.End
	if t.out.Kick {
		t.conn.tracks[1-t.dir].kick()
	}
	t.buf.start, t.buf.end = 0, 0 // what the engine left will not be completed
	t.settle()
	if !t.conn.over {
		t.conn.watch()
	}
}

// kick makes the track feed again.
func (t *track) kick() {
	if t.wait == forKick {
		t.wait = forNothing
	}
	t.feed()
}

// answered goes on after a question.
func (t *track) answered() {
	t.wait = forNothing
	t.feed()
	t.close()
}

// synced writes what waited for the disk, and goes on.
func (t *track) synced() {
	t.syncing = false
	if len(t.rest) > 0 {
		t.drain()
	}
	t.close()
}

// close closes dst's half if all that came from src before its end is written.
func (t *track) close() {
	if t.conn.over {
		return
	}
	if t.eof || t.last {
		t.settle()
	}
	if !t.conn.over {
		t.conn.watch()
	}
}

// rawRead and rawWrite do not tell the scheduler: on a non-blocking descriptor
// they return at once, and what they save is a good part of a statement's cost. A socket's own calls
// have less between them and the socket than read and write.
func rawRead(fd int, p []byte) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func rawWrite(fd int, p []byte) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
