package postgres

import (
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/jackc/pgproto3/v2"
)

// phase says what a session's messages mean.
//
//	startup ──(replication judged)──> login ──ReadyForQuery──> ready
//	                                     └──(replication)────> raw
type phase uint8

const (
	startup phase = iota // the startup packet is still here
	login                // authentication is relayed, and not taped
	ready                // statements
	raw                  // replication that a rule allowed: bytes
)

// engine is one session. The driver's lock guards all of it.
//
// Within ready, three states matter besides the queue:
//
//	discard  the server skips everything up to the client's next Sync, because of an error or
//	         a refusal; so nothing is forwarded either.
//	copyIn   the server reads copy data: Sync and Flush mean nothing to it.
//	copyOut  the server sends copy data.
type engine struct {
	p          *protocol
	s          *interceptor.Session
	generation func() uint64

	phase    phase
	packet   []byte // the startup packet, until it is sent
	params   map[string]string
	user     string
	database string
	login    relayedLogin
	cancel   *cancelable
	key      []byte // the client's synthetic cancel key

	queue    queue
	discard  bool
	copyIn   bool
	copyOut  bool
	fed      bool // copy data was sent, and not its end
	early    int  // Syncs that the server ignores as part of copy data, unless the copy fails before it reads them
	spare    int  // of a copy that has failed: so many more ReadyForQuery may come than are owed
	stalled  bool // Up waits for the queue
	drain    bool // until it is empty
	batching bool // extended messages were sent, and no Sync since: the server may be in a transaction of theirs
	status   byte // of the last ReadyForQuery
	sent     int  // batches sent, each ended by a Sync, Query or FunctionCall
	done     int  // batches answered
	until    int  // Up waits for so many

	statements map[string]*statement
	unnamed    *statement
	prepared   prepared
	cursors    traits // of all that cursors of this session run
	renames    int    // how often code ran that may have given names anew
	bytes      int    // of texts that statement names keep
	portals    map[string]portal
	held       int               // bytes that portal names keep
	noted      string            // the text of the last decision on tape
	unbound    portal            // the unnamed portal
	settings   [sha256.Size]byte // a chain of all that may have changed what texts mean; zeros: nothing has
	reset      bool              // it grew in a transaction whose end may take that back
	resetHere  bool              // and in this batch
	texts      texts
	asked      *judged // the question that is out, or its answer
	lexing     lexing
	long       long

	// What masks need.
	catalog   *catalog
	view      *view    // for the statements that follow
	dirty     bool     // and views and functions may have changed since
	unknown   bool     // a relation was met that the snapshot does not have
	opened    bool     // this session's transaction has changed definitions
	shook     bool     // and may have made a table part of another
	doubted   []string // functions it called of which it was not known then whether they do
	doubtedAt uint64   // the catalog's version then
	laundered bool     // something ran that may have put values into settings
	suspected bool     // and into notifications that others hear
	described bool     // the unnamed portal's shape was asked for
	load      *loader
	retry     time.Time // not to load before
	fields    pgproto3.RowDescription
	shapes    map[*judged]shape // of results, by what they come from
	scratch   []byte
	cell      []byte // one masked value
	hidden    int    // fields, in this Feed

	rest    [2]int  // bytes of the current message still to come
	drop    [2]bool // and they are not passed on
	omitted [2]bool // and not taped
	kept    bool    // the message Up drops is taped all the same
	reels   [2]reel
	notices []byte // for the client, at the next message boundary
	last    []byte // the FATAL the session ends with
	dead    bool   // an error was returned: nothing is forwarded any more
}

// walk is one pass over the bytes of one Feed. What lies between run and pos is
// released unchanged, in one piece.
type walk struct {
	e        *engine
	dir      interceptor.Direction
	in       []byte
	out      *interceptor.Output
	run, pos int
}

// pass releases the run.
func (w *walk) pass() {
	b := w.in[w.run:w.pos]
	w.run = w.pos
	w.out.Pass(b)
	switch {
	case w.e.phase < ready:
	case w.e.omitted[w.dir]:
		w.e.reels[w.dir].omit(len(b))
	default:
		w.e.reels[w.dir].add(b)
	}
}

// passAs releases the next n bytes unchanged; the tape has others in their place.
func (w *walk) passAs(n int, taped []byte) {
	w.pass()
	w.out.Pass(w.in[w.pos : w.pos+n])
	w.e.reels[w.dir].put(taped)
	w.pos += n
	w.run = w.pos
}

// skip leaves n bytes out.
func (w *walk) skip(n int) {
	w.pass()
	w.pos += n
	w.run = w.pos
}

// put releases bytes that do not stand in the buffer.
func (w *walk) put(b []byte) {
	w.pass()
	w.out.Put(b)
}

// left is how many bytes stand unread.
func (w *walk) left() int { return len(w.in) - w.pos }

// stream hands over the current message's remaining bytes; false when more are to come.
func (w *walk) stream() bool {
	n := min(w.e.rest[w.dir], w.left())
	w.e.rest[w.dir] -= n
	w.streamed(w.in[w.pos : w.pos+n])
	return w.e.rest[w.dir] == 0
}

// violation is a message that has no place where it stands; the session ends.
type violation struct{ what string }

func (v violation) Error() string { return "protocol violation: " + v.what }

var errRecord = errors.New("the session could not be recorded")

// Feed implements interceptor.Engine.
func (e *engine) Feed(dir interceptor.Direction, in []byte, out *interceptor.Output) (int, error) {
	w := walk{e: e, dir: dir, in: in, out: out}
	if e.dead {
		e.sayLast(&w)
		return 0, nil
	}
	var err error
	if dir == interceptor.Up {
		err = e.feedUp(&w)
	} else {
		err = e.feedDown(&w)
	}
	w.pass()
	if e.hidden > 0 {
		e.s.Meter.Masked(e.s.Flow.Identity, e.s.Flow.Target, e.hidden)
		e.hidden = 0
	}
	if terr := e.reels[dir].write(e.s.Tape, dir); terr != nil {
		out.Reset() // nothing passes unrecorded
		err = errors.Join(errRecord, terr)
	}
	if e.queue.n == 0 {
		e.reels[dir].trim()
	}
	if err != nil {
		e.end(&w, err)
	}
	return w.pos, err
}

// end prepares the last words. From Down they are said at once, if a message may stand there.
func (e *engine) end(w *walk, err error) {
	if e.last == nil {
		e.last = fatal("08P01", "chaperone ended this session: "+err.Error(), "")
		if errors.Is(err, errRecord) {
			e.last = fatal("58030", "chaperone ended this session: it could not be recorded", "")
		}
	}
	e.dead, w.out.Kick = true, true
	if w.dir == interceptor.Down {
		e.sayLast(w)
	}
}

// sayLast says why the session ends, if a message may stand there.
func (e *engine) sayLast(w *walk) {
	if w.dir == interceptor.Down && e.rest[interceptor.Down] == 0 {
		w.out.Put(e.last)
		e.last = nil
	}
	w.out.End = true
}

// EOF implements interceptor.Engine. What waits incomplete is dropped.
func (e *engine) EOF(dir interceptor.Direction, out *interceptor.Output) error {
	out.End = dir == interceptor.Down // without its server the session is over
	return nil
}

// Resume implements interceptor.Engine.
func (e *engine) Resume(a interceptor.Answer) {
	if e.asked != nil {
		e.asked.settle(a)
	}
}

// Tell implements interceptor.Engine.
func (e *engine) Tell(text string) {
	e.notices = wire.AppendNotice(e.notices, &pgproto3.NoticeResponse{
		Severity: "NOTICE", SeverityUnlocalized: "NOTICE", Code: "01000", Message: clean(text),
	})
}

// Leave implements interceptor.Leaver.
func (e *engine) Leave(why string) {
	if e.dead || e.phase == raw {
		return
	}
	e.last, e.dead = fatal("57P01", "chaperone: "+why, ""), true
}

// engine makes the engine of a connection whose startup packet was read.
func (p *protocol) engine(c *interceptor.Conn, start *wire.Startup, serverTLS bool) *engine {
	e := &engine{
		p: p, s: c.Session, generation: c.Session.Generation,
		packet: start.Packet, params: start.Params,
		user: start.Params["user"], database: start.Params["database"],
	}
	if e.database == "" {
		e.database = e.user
	}
	for _, name := range slices.Sorted(maps.Keys(e.params)) {
		if name != "user" && name != "database" && name != "application_name" {
			e.set(name + "=" + e.params[name])
		}
	}
	e.login.bridged = serverTLS // the client is told nothing of a channel that is not its own
	e.cancel = &cancelable{session: c.Session, identity: c.Session.Flow.Identity,
		destination: c.Session.Flow.Destination, secure: serverTLS}
	return e
}

// request begins the description of a request.
func (e *engine) request(kind string) *flow.Request {
	return &flow.Request{
		ID: e.s.NextRequest(), Protocol: "postgres", Kind: kind, User: e.user, Database: e.database,
	}
}
