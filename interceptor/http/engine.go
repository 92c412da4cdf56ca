package http

import (
	"errors"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/http/wire"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// Bounds of a conversation.
const (
	maxReadings = 24       // ways to understand one request
	maxLine     = 32       // requests under way on one connection
	maxSeen     = 64 << 10 // bytes of body that are read before a request is judged
	maxDrain    = 16 << 20 // bytes of a refused upload that are dropped before the connection is reset
	maxSwallow  = 1 << 20  // bytes of a refused request's body that are read to keep the connection
)

// Engine is one HTTP/1.x connection.
type Engine struct {
	session *interceptor.Session
	line    line
	up      client
	down    server
	reel    reel
	dead    bool   // an error was returned; only End may follow,
	last    []byte // and these last words
}

// NewEngine makes the engine of a connection before its first request.
func NewEngine(s *interceptor.Session) *Engine {
	return &Engine{session: s, reel: reel{tape: s.Tape}}
}

// Feed moves one direction on. See client and server for the states.
func (e *Engine) Feed(dir interceptor.Direction, in []byte, out *interceptor.Output) (int, error) {
	if e.dead {
		if dir == interceptor.Down {
			out.Put(e.last)
			e.last = nil
		}
		out.End = true
		return 0, nil
	}
	move := e.moveUp
	if dir == interceptor.Down {
		move = e.moveDown
	}
	n, more := 0, true
	for more && !out.End {
		var k int
		var err error
		k, more, err = move(in[n:], out)
		n += k
		if err != nil {
			e.dead = true
			e.despair(dir, err)
			return n, err
		}
	}
	return n, nil
}

// despair prepares the last words of a conversation whose next request cannot be
// recorded. They are not recorded either: they tell nothing.
func (e *Engine) despair(dir interceptor.Direction, why error) {
	if dir == interceptor.Up && errors.Is(why, errUnrecorded) && e.line.count == 0 && e.down.state == downHead {
		e.last = unrecorded().append(nil, e.up.method)
	}
}

// Resume brings the answer to the request at the head of the client's bytes.
func (e *Engine) Resume(a interceptor.Answer) {
	e.up.answer = a
	if e.up.state == upAsked {
		e.up.state = upJudged
	}
}

// Tell does nothing: an HTTP client that waits for its response can be told nothing else.
func (e *Engine) Tell(string) {}

// EOF ends a half. A response that ends with its connection is complete then;
// what is queued behind it is said, for nobody else will come to say it.
func (e *Engine) EOF(dir interceptor.Direction, out *interceptor.Output) error {
	if err := e.reel.close(dir); err != nil {
		return err
	}
	if dir == interceptor.Up {
		out.End = e.up.state == upDeaf && e.line.count == 0 // nothing more is to come either way
		return nil
	}
	out.End = true
	if e.dead {
		return nil
	}
	if err := e.lastResponse(out); err != nil {
		e.dead = true
		return err
	}
	return e.reel.close(interceptor.Down)
}

// exchange is one request under way, until its response is over.
type exchange struct {
	method wire.Method
	old    bool // the request is HTTP/1.0
	expect bool // it waits for 100 Continue before its body
	went   bool // all of it has been forwarded
	last   bool // the connection ends with its response
	raise  bool // a rule allowed it to leave HTTP (Upgrade, CONNECT)
	masks  *rules.Masks
	local  bool // the response is ours:
	answer problem
}

// line holds the requests under way, in order: a ring.
type line struct {
	ring  [maxLine]exchange
	first int
	count int
}

func (l *line) full() bool { return l.count == maxLine }

func (l *line) push(x exchange) *exchange {
	at := &l.ring[(l.first+l.count)%maxLine]
	*at = x
	l.count++
	return at
}

// front is the request whose response is next; nil when none is under way.
func (l *line) front() *exchange {
	if l.count == 0 {
		return nil
	}
	return &l.ring[l.first]
}

func (l *line) pop() {
	l.ring[l.first] = exchange{}
	l.first = (l.first + 1) % maxLine
	l.count--
}

// allowed says that an answer lets a request pass.
func allowed(a interceptor.Answer) bool {
	return a.Verdict == flow.Allow || a.Verdict == flow.Warn
}
