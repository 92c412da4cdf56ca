package postgres

import (
	"strings"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/rules"
)

// maxSmall bounds messages that hold nothing but names, and the names of others, in bytes.
const maxSmall = 8 << 10

// statement is what a statement name stands for.
type statement struct {
	j        *judged
	batch    int        // in which it was prepared
	known    bool       // its text came through Parse
	parsed   bool       // which the server has carried out
	before   *statement // what had the name and keeps it, should the Parse fail; nil once that is known
	fresh    bool       // judged at Parse and not run since
	declared []byte     // parameter types as Parse gave them, where runs may be held: int16 n | n x int32 type
	types    []uint32   // as the server gave them; nil: it was not asked
	weight   int        // of what was read in it when it got its name, in bytes
	replaced bool       // SQL's PREPARE gave its name again: it may be that statement which runs
	renamed  bool       // it is what a name stands for that SQL may have given
	sure     int        // the engine's renames when its name was known to be its own
}

// portal is what a portal name stands for.
type portal struct {
	stmt    *statement // nil: not known here
	plan    *plan      // nil: nothing is masked
	started bool
	j       *judged // what was decided of its run; nil: not yet
	bound   *bound  // nil: not kept, since nobody would be asked about its run, or everybody was
	batch   int     // in which it was bound: it does not outlive an error there
	sure    int     // the engine's renames when its name was known to be its own
	cost    int     // what its name keeps, in bytes
}

// feedUp walks what the client sends.
func (e *engine) feedUp(w *walk) error {
	if e.phase == startup {
		if ok, err := e.begin(w); !ok {
			return err
		}
	}
	for {
		if e.phase == raw {
			e.rawFeed(w)
			return nil
		}
		if e.rest[interceptor.Up] > 0 && !w.stream() {
			return nil
		}
		w.settle()
		if w.left() < wire.HeaderSize {
			return nil
		}
		size, err := wire.Size(w.in[w.pos:])
		if err != nil {
			return violation{"a length that cannot be"}
		}
		ok, err := e.up(w, w.in[w.pos], size)
		if !ok || err != nil {
			return err
		}
	}
}

// settle ends the handling of a message that was dropped or not taped.
func (w *walk) settle() {
	if w.e.omitted[w.dir] {
		w.pass()
	}
	w.e.drop[w.dir], w.e.omitted[w.dir] = false, false
	if w.dir == interceptor.Up {
		w.e.kept, w.e.long.on = false, false
	}
}

// up takes one message; false means that it waits.
func (e *engine) up(w *walk, typ byte, size int) (bool, error) {
	if e.phase == login {
		return e.loginUp(w, typ, size)
	}
	switch {
	case typ == 'X':
		e.send(w, size)
		return true, nil
	case e.copyIn:
		return e.upCopying(w, typ, size)
	case e.discard && typ != 'S':
		return e.upSkipped(w, typ, size)
	case e.queue.n >= maxOwed:
		e.stalled, w.out.Stalled = true, true
		return false, nil
	}
	ok, err := e.upReady(w, typ, size)
	if ok {
		e.batching = strings.IndexByte("BEDPC", typ) >= 0 || e.batching && strings.IndexByte("Hdcf", typ) >= 0
	}
	return ok, err
}

// upReady takes one message of a session that is neither copying nor skipping.
func (e *engine) upReady(w *walk, typ byte, size int) (bool, error) {
	switch typ {
	case 'B':
		return e.bind(w, size)
	case 'E':
		return e.execute(w, size)
	case 'S':
		return e.sync(w, size)
	case 'D':
		return e.describe(w, size)
	case 'Q':
		return e.query(w, size)
	case 'P':
		return e.parse(w, size)
	case 'C':
		return e.close(w, size)
	case 'F':
		return e.function(w, size)
	case 'H', 'd':
		e.fed = e.fed || typ == 'd'
		e.send(w, size)
		return true, nil
	case 'c', 'f':
		e.fed = false
		e.queue.copyEnd()
		e.send(w, size)
		return true, nil
	}
	return false, violation{"a message type no client sends"}
}

// send forwards a message of which no more has to be seen.
func (e *engine) send(w *walk, size int) { e.rest[interceptor.Up] = size }

// replace drops a message and sends another one in its place. What the client sent is
// taped: taped, or the message itself where taped is nil.
func (e *engine) replace(w *walk, size int, taped, sent []byte) {
	w.pass()
	w.out.Put(sent)
	e.reels[interceptor.Up].put(taped)
	e.rest[interceptor.Up], e.drop[interceptor.Up] = size, true
	e.kept = taped == nil
}

// upCopying takes a message while the server reads copy data.
func (e *engine) upCopying(w *walk, typ byte, size int) (bool, error) {
	switch typ {
	case 'c', 'f':
		e.copyIn, e.fed = false, false
	case 'd':
		e.fed = true
		e.leaveOut(w)
	case 'S', 'H':
		if typ == 'S' && e.fed {
			return false, violation{"a Sync amid copy data"}
		}
		if typ == 'S' {
			e.early++
		}
		if size != wire.HeaderSize {
			return false, violation{"a body where none belongs"}
		}
	default:
		return false, violation{"a message that has no place in copy data"}
	}
	e.send(w, size)
	return true, nil
}

// leaveOut keeps the message that begins here off the tape, where the record level says so.
func (e *engine) leaveOut(w *walk) {
	if e.s.Level != rules.RecordFull {
		w.pass()
		e.omitted[interceptor.Up] = true
	}
}

// upSkipped drops what the server would skip. Its names are not noted: it has no effect.
func (e *engine) upSkipped(w *walk, typ byte, size int) (bool, error) {
	if strings.IndexByte("BEDQPCFHdcf", typ) < 0 {
		return false, violation{"a message type no client sends"}
	}
	e.asked = nil // an answer that came meanwhile was to this message, and to no later one
	w.pass()
	e.rest[interceptor.Up], e.drop[interceptor.Up] = size, true
	e.kept = typ == 'P' || typ == 'Q' || e.s.Level == rules.RecordFull
	return true, nil
}

// whole says whether a small message stands in the buffer, and refuses one that is not small.
func whole(w *walk, size int) (bool, error) {
	if size > maxSmall {
		return false, violation{"a name is too long"}
	}
	return w.left() >= size, nil
}

func (e *engine) sync(w *walk, size int) (bool, error) {
	if size != wire.HeaderSize {
		return false, violation{"a body where none belongs"}
	}
	e.discard = false
	e.sent++
	if e.resetHere {
		e.set("Sync") // it ends the batch's own transaction
		e.resetHere = false
	}
	e.queue.push(owed{step: stepSync, amid: e.fed})
	e.send(w, size)
	return true, nil
}
