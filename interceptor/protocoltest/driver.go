package protocoltest

import (
	"context"
	"errors"
	"fmt"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Judge answers the requests of a conversation. err is what the engine's
// question failed with; the request is nil then.
type Judge func(r *flow.Request, err error) interceptor.Answer

// AllowAll lets everything through.
func AllowAll(*flow.Request, error) interceptor.Answer {
	return interceptor.Answer{Verdict: flow.Allow}
}

// DenyAll refuses everything.
func DenyAll(*flow.Request, error) interceptor.Answer {
	return interceptor.Answer{Verdict: flow.Deny, Cause: interceptor.ByRule, Rule: "no", Message: "not today"}
}

// errTooLarge stands where the real driver ends a session whose engine waits for
// a message larger than interceptor.MaxBuffer.
var errTooLarge = errors.New("more unread bytes than a driver holds")

// Driver is the smallest driver that keeps an engine's contract: no I/O, no
// goroutines, every step decided by the caller. It hands the engine a fresh copy
// of the unread bytes each time and spoils it afterwards, so an engine
// that keeps a slice of its input is found out.
type Driver struct {
	Engine interceptor.Engine
	Judge  Judge
	Tape   *Tape // Sync is called before durable bytes are written; may be nil

	// Written is what went out, by direction.
	Written [2][]byte
	// Requests are the requests that were asked about.
	Requests []*flow.Request
	// Err is what ended the session; nil when nothing did.
	Err error
	// Ended says that the engine set End, or failed.
	Ended bool

	unread  [2][]byte
	closed  [2]bool
	stalled [2]bool
	kicked  [2]bool
	asking  [2]bool
	feeding int // direction under Feed, -1 for none
	feeds   int
	out     [2]interceptor.Output
	faults  []string
}

// Start makes a driver and gives both directions their first, empty Feed.
func Start(e interceptor.Engine, judge Judge, tape *Tape) *Driver {
	d := &Driver{Engine: e, Judge: judge, Tape: tape, feeding: -1}
	if tape != nil {
		tape.driver = d
	}
	d.pump(interceptor.Up)
	d.pump(interceptor.Down)
	return d
}

// Send hands bytes to the engine as if they had been read in one piece.
func (d *Driver) Send(dir interceptor.Direction, b []byte) {
	if d.Ended || d.closed[dir] {
		return
	}
	d.unread[dir] = append(d.unread[dir], b...)
	if d.stalled[dir] {
		return
	}
	d.pump(dir)
}

// EOF closes the sender's half of dir.
func (d *Driver) EOF(dir interceptor.Direction) {
	if d.Ended || d.closed[dir] || d.stalled[dir] {
		return // a stalled lane does not read, so it sees no end
	}
	d.closed[dir] = true
	d.out[dir].Reset()
	d.feeding = int(dir)
	err := d.Engine.EOF(dir, &d.out[dir])
	d.feeding = -1
	d.settle(dir, err)
}

// Unread is what the engine left of a direction.
func (d *Driver) Unread(dir interceptor.Direction) []byte { return d.unread[dir] }

// Stalled says that a direction waits for the other one.
func (d *Driver) Stalled(dir interceptor.Direction) bool { return d.stalled[dir] }

// Faults are the breaches of the contract seen so far.
func (d *Driver) Faults() []string { return d.faults }

func (d *Driver) fault(format string, args ...any) {
	if len(d.faults) < 10 {
		d.faults = append(d.faults, fmt.Sprintf(format, args...))
	}
}

// pump feeds one direction until the engine wants more bytes than there are.
func (d *Driver) pump(dir interceptor.Direction) {
	for !d.Ended && !d.asking[dir] && !d.closed[dir] {
		n, in := d.feed(dir)
		out := &d.out[dir]
		switch {
		case d.Ended:
			return
		case out.Question != nil:
			d.ask(dir, out.Question)
		case out.Stalled:
			if !d.stall(dir) {
				return
			}
		case n == in:
			d.echo(dir)
			return
		case n == 0 && in < interceptor.MaxBuffer:
			d.echo(dir)
			return
		case n == 0:
			d.fail(errTooLarge)
			return
		}
		d.echo(dir)
	}
}

// stall parks a direction; it says whether a kick is there already.
func (d *Driver) stall(dir interceptor.Direction) bool {
	d.stalled[dir] = true
	d.echo(dir)
	return !d.stalled[dir]
}

// feed is one call of the engine, checked. in is the number of bytes it was given.
func (d *Driver) feed(dir interceptor.Direction) (n, in int) {
	if d.feeds++; d.feeds > 1<<22 {
		d.fault("engine never comes to rest")
		d.Ended = true
		return 0, 0
	}
	given := append([]byte(nil), d.unread[dir]...)
	d.out[dir].Reset()
	d.kicked[dir] = false
	d.feeding = int(dir)
	n, err := d.Engine.Feed(dir, given, &d.out[dir])
	d.feeding = -1
	if n < 0 || n > len(given) {
		d.fault("Feed(%s) consumed %d of %d bytes", dir, n, len(given))
		n = 0
	}
	in = len(given)
	d.unread[dir] = d.unread[dir][n:]
	d.settle(dir, err)
	for i := range given {
		given[i] = 0xAA
	}
	return n, in
}

// settle writes what was released and takes note of an end.
func (d *Driver) settle(dir interceptor.Direction, err error) {
	out := &d.out[dir]
	if out.Size() > 0 {
		d.write(dir, out)
	}
	if out.Kick {
		d.kicked[1-dir] = true
	}
	if err != nil {
		d.lastWords(dir, err)
	}
	if out.End {
		d.Ended = true
	}
}

func (d *Driver) write(dir interceptor.Direction, out *interceptor.Output) {
	if dir == interceptor.Up && d.asking[interceptor.Down] {
		d.fault("bytes went up while a question was open")
	}
	if out.Durable && d.Tape != nil {
		if err := d.Tape.Sync(); err != nil {
			d.fail(err)
			return
		}
	}
	size := 0
	for _, p := range out.Parts() {
		d.Written[dir] = append(d.Written[dir], p...)
		size += len(p)
	}
	if size != out.Size() {
		d.fault("Feed(%s) released %d bytes and says %d", dir, size, out.Size())
	}
}

// lastWords lets an engine that failed on Up say why, once.
func (d *Driver) lastWords(dir interceptor.Direction, err error) {
	d.fail(err)
	if dir != interceptor.Up || d.closed[interceptor.Down] {
		return
	}
	down := &d.out[interceptor.Down]
	down.Reset()
	given := append([]byte(nil), d.unread[interceptor.Down]...)
	if _, err := d.Engine.Feed(interceptor.Down, given, down); err == nil && !down.End {
		d.fault("after an error from Up, Feed(Down) did not set End")
	}
	if down.Size() > 0 {
		d.write(interceptor.Down, down)
	}
}

func (d *Driver) fail(err error) {
	if d.Err == nil {
		d.Err = err
	}
	d.Ended = true
}

// ask lets the other direction run while a question is open, which a real
// driver does as well, and then answers it.
func (d *Driver) ask(dir interceptor.Direction, q interceptor.Question) {
	before := len(d.Written[interceptor.Up])
	d.asking[dir] = true
	d.echo(dir)
	if !d.stalled[1-dir] {
		d.pump(1 - dir)
	}
	d.asking[dir] = false
	if len(d.Written[interceptor.Up]) != before {
		d.fault("%d bytes went up before the question was answered", len(d.Written[interceptor.Up])-before)
	}
	if d.Ended {
		return
	}
	r, err := q(context.Background())
	if err == nil && r == nil {
		d.fault("a question gave neither a request nor an error")
		return
	}
	if r != nil {
		d.Requests = append(d.Requests, r)
	}
	d.Engine.Resume(d.Judge(r, err))
}

// echo feeds the other direction when it was kicked.
func (d *Driver) echo(dir interceptor.Direction) {
	other := 1 - dir
	if !d.kicked[other] || d.asking[other] {
		return
	}
	d.kicked[other], d.stalled[other] = false, false
	d.pump(other)
}
