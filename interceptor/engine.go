package interceptor

import (
	"context"
	"errors"
	"unsafe"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Direction tells which way bytes travel on a connection.
type Direction uint8

// The two directions.
const (
	Up   Direction = iota // from the enrolled client to the server
	Down                  // from the server to the client
)

func (d Direction) String() string {
	if d == Up {
		return "up"
	}
	return "down"
}

// MaxBuffer is the most a driver lets pile up unread in one direction, in
// bytes. An engine that needs more than this to make up its mind has to stream
// or refuse: memory per connection is bounded whatever the peers send.
const MaxBuffer = 1 << 20

// An Engine is one connection's protocol as a state machine without I/O.
//
// The driver calls Feed, Resume and Tell under one lock, never two at a time.
// An engine holds one connection's memory and is not used again.
type Engine interface {
	// Feed is given the unread bytes of one direction and consumes a prefix:
	// n is its length, and out receives, in order, what is to be written in that
	// same direction. Bytes for the other direction are kept inside the engine
	// and out.Kick set; the driver then calls Feed(other, ...), which
	// must release them at the next point where they may stand.
	//
	// in is nil when the driver only wants queued bytes. It may be changed in
	// place, and is not valid after Feed returns. When n < len(in) the rest
	// comes again, with more behind it: because a message is not complete (the
	// driver reads on, up to MaxBuffer), because out.Stalled (the driver waits
	// for a kick from the other direction before it feeds again), or because of out.Question.
	//
	// An error ends the session; it never holds a value from the wire. What out
	// holds by then is still written. After an error from Up, Feed(Down, nil) is called once more, for
	// a refusal in the protocol's own words; it must set out.End.
	Feed(dir Direction, in []byte, out *Output) (n int, err error)

	// Resume brings the answer to the last out.Question.
	// The driver feeds that direction again afterwards.
	Resume(Answer)

	// Tell queues a note for a client that waits for a held request, where the
	// protocol knows such a thing (a PostgreSQL NOTICE). The driver feeds Down afterwards.
	Tell(text string)

	// EOF says that the peer which sends dir has closed its half. The engine
	// releases (or drops) what it held back. The driver then closes the
	// other peer's half, once all is written.
	EOF(dir Direction, out *Output) error
}

// A Leaver is an Engine that can tell its client why a session is ended from outside.
type Leaver interface {
	// Leave is called as the methods of Engine are. The driver then calls Feed(Down, ...)
	// once more, as after an error from Up.
	Leave(why string)
}

// farewell is what a client is told of an end from outside; empty: nothing.
func farewell(cause error) string {
	switch {
	case errors.Is(cause, errKilled):
		return "ended by an administrator"
	case errors.Is(cause, errGrantOver):
		return "the grant has ended"
	}
	return ""
}

// Question is a request an engine stopped at. The driver calls it outside of
// the engine's lock (it may take long: a statement is parsed in a child process),
// judges the request it returns, and brings the answer to Resume. An error
// becomes a refusal: what cannot be understood is not forwarded.
type Question func(ctx context.Context) (*flow.Request, error)

// Output is what one Feed releases and asks for.
type Output struct {
	parts [][]byte
	arena []byte
	size  int

	// Question, when set, is the request the engine stopped at. Bytes
	// released before it are written first; bytes of the request
	// itself are not released, and not consumed, before Resume.
	Question Question
	// Durable asks that the session's record is on disk before these bytes
	// are written: they carry a request that changes something.
	Durable bool
	// Stalled says that this direction waits for the other one.
	Stalled bool
	// Kick says that the other direction has something to release, or may go on.
	Kick bool
	// Gather says that more of the same is certain to follow soon (a result in
	// mid-stream): the driver may wait a few microseconds for it.
	Gather bool
	// End says that the conversation is over once these bytes are written.
	End bool
}

// Reset empties o for the next Feed; memory is kept.
func (o *Output) Reset() {
	clear(o.parts)
	*o = Output{parts: o.parts[:0], arena: o.arena[:0]}
}

// Pass releases b, a part of the buffer that was given to Feed. Parts that
// touch become one: what nobody changed leaves in one write.
func (o *Output) Pass(b []byte) {
	if len(b) == 0 {
		return
	}
	o.size += len(b)
	if k := len(o.parts) - 1; k >= 0 && touches(o.parts[k], b) {
		o.parts[k] = o.parts[k][:len(o.parts[k])+len(b)]
		return
	}
	o.parts = append(o.parts, b)
}

// Put releases bytes that do not stand in the buffer. They are copied.
func (o *Output) Put(b []byte) {
	if len(b) == 0 {
		return
	}
	start := len(o.arena)
	o.arena = append(o.arena, b...)
	o.Pass(o.arena[start:])
}

// Parts is the gather list so far, valid until Reset.
func (o *Output) Parts() [][]byte { return o.parts }

// Size is the number of bytes released so far.
func (o *Output) Size() int { return o.size }

// touches says that b starts where a ends, inside a's array.
func touches(a, b []byte) bool {
	return cap(a) >= len(a)+len(b) &&
		unsafe.SliceData(a[len(a):cap(a)]) == unsafe.SliceData(b)
}
