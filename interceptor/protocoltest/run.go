// Package protocoltest is what every protocol's engine must pass.
//
// # Why
//
// An engine is trusted with two promises that no reader of its code can see at
// a glance: that it behaves the same however the network cuts its bytes, and that
// not one byte of a request leaves before its answer. Both are checked here,
// with a driver that has no sockets and no goroutines, so that a
// failure is the same at every run. Real drivers and servers come on top,
// in each protocol's own tests.
package protocoltest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor"
)

// Case is one protocol with conversations to try it with.
type Case struct {
	// Engine makes a fresh engine, as if its connection had just been opened.
	Engine func(s *interceptor.Session) interceptor.Engine
	// Session makes the session; nil: Session(tape).
	Session func(tape interceptor.Tape) *interceptor.Session
	// Conversations to hold. Each is held many times, cut differently.
	Conversations []Conversation
	// Normal reduces what was written in one direction to what it means,
	// where cuts may show (HTTP chunk sizes). nil: the bytes themselves.
	Normal func(dir interceptor.Direction, written []byte) []byte
	// Growth is the most bytes the engine may write per byte it reads from
	// hostile peers; 0: 1024.
	Growth int
}

// With is c with more conversations.
func (c Case) With(more []Conversation) Case {
	c.Conversations = append(slices.Clone(c.Conversations), more...)
	return c
}

// Conversation is a script: who sends what, in turn.
type Conversation struct {
	Name  string
	Steps []Step
	// Up and Down are what must have been written with every request allowed;
	// nil: not looked at, beyond being the same for every cut.
	Up, Down []byte
	// DeniedUp is what may go up although every request is denied: greetings,
	// and what a protocol says to keep its server in step. nil: nothing.
	DeniedUp []byte
	// DeniedAnyhow says that it is not known what may go up when denied.
	DeniedAnyhow bool
	// DeniedDown, when not nil, is what the client must be told when denied.
	DeniedDown []byte
	// Questions is how many requests must be asked about; 0: at least one, -1: any number.
	Questions int
	// Loop says that the conversation can be held again and again on one connection:
	// memory is measured with it.
	Loop bool
}

// Step is one thing a peer does.
type Step struct {
	Dir   interceptor.Direction
	Bytes []byte
	EOF   bool // the peer closes its half, after Bytes
}

// Up is a step of the client.
func Up(s string) Step { return Step{Dir: interceptor.Up, Bytes: []byte(s)} }

// Down is a step of the server.
func Down(s string) Step { return Step{Dir: interceptor.Down, Bytes: []byte(s)} }

// UpEOF is the client closing its half.
func UpEOF() Step { return Step{Dir: interceptor.Up, EOF: true} }

// DownEOF is the server closing its half.
func DownEOF() Step { return Step{Dir: interceptor.Down, EOF: true} }

// Run holds every conversation in every way.
func Run(t *testing.T, c Case) {
	t.Helper()
	for _, talk := range c.Conversations {
		t.Run(talk.Name, func(t *testing.T) {
			t.Run("is the same however it is cut", func(t *testing.T) { c.cuts(t, talk) })
			t.Run("sends nothing up when denied", func(t *testing.T) { c.denied(t, talk) })
			t.Run("survives an end anywhere", func(t *testing.T) { c.ends(t, talk) })
			t.Run("forwards nothing it cannot record", func(t *testing.T) { c.unrecorded(t, talk) })
			if talk.Loop {
				t.Run("keeps its memory", func(t *testing.T) { c.memory(t, talk) })
			}
		})
	}
}

// hold holds a conversation, cut by cut: it is given what is left of a step and says how much is sent.
func (c Case) hold(talk Conversation, judge Judge, tape *Tape, cut func(left int) int) *Driver {
	d := Start(c.Engine(c.session(tape)), judge, tape)
	for _, step := range talk.Steps {
		for rest := step.Bytes; len(rest) > 0; {
			n := min(max(cut(len(rest)), 1), len(rest))
			d.Send(step.Dir, rest[:n])
			rest = rest[n:]
		}
		if step.EOF {
			d.EOF(step.Dir)
		}
	}
	return d
}

func (c Case) session(tape *Tape) *interceptor.Session {
	if c.Session != nil {
		return c.Session(tape)
	}
	return Session(tape)
}

func whole(left int) int { return left }

func (c Case) normal(dir interceptor.Direction, b []byte) []byte {
	if c.Normal == nil {
		return b
	}
	return c.Normal(dir, b)
}

func (c Case) cuts(t *testing.T, talk Conversation) {
	base := c.hold(talk, AllowAll, &Tape{}, whole)
	c.check(t, base)
	for dir, want := range [][]byte{interceptor.Up: talk.Up, interceptor.Down: talk.Down} {
		if got := base.Written[dir]; want != nil && !bytes.Equal(got, want) {
			t.Errorf("%s: wrote\n%q\nwant\n%q", interceptor.Direction(dir), got, want)
		}
	}
	if n := len(base.Requests); talk.Questions > 0 && n != talk.Questions || talk.Questions == 0 && n == 0 {
		t.Errorf("%d requests were asked about, want %d (0: any)", n, talk.Questions)
	}
	for _, cut := range cutters(talk) {
		d := c.hold(talk, AllowAll, &Tape{}, cut)
		c.check(t, d)
		if d.Ended != base.Ended || (d.Err == nil) != (base.Err == nil) || len(d.Requests) != len(base.Requests) {
			t.Fatalf("cut otherwise: ended %v (%v) with %d requests; whole: ended %v (%v) with %d", d.Ended, d.Err, len(d.Requests), base.Ended, base.Err, len(base.Requests))
		}
		for dir := range d.Written {
			dir := interceptor.Direction(dir)
			if got, want := c.normal(dir, d.Written[dir]), c.normal(dir, base.Written[dir]); !bytes.Equal(got, want) {
				t.Fatalf("%s: cut otherwise it wrote\n%q\nwhole\n%q", dir, got, want)
			}
		}
	}
}

// cutters are ways of cutting: byte by byte where the talk is short, and at random with fixed seeds.
func cutters(talk Conversation) []func(int) int {
	size := 0
	for _, s := range talk.Steps {
		size += len(s.Bytes)
	}
	var all []func(int) int
	if size <= 32<<10 {
		all = append(all, func(int) int { return 1 })
	}
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		most := []int{3, 17, 200, 5000}[seed%4]
		if size > 32<<10 {
			most *= 100
		}
		all = append(all, func(int) int { return 1 + r.IntN(most) })
	}
	return all
}

// check looks for breaches of the contract, and for bytes that were left without a kick.
func (c Case) check(t *testing.T, d *Driver) {
	t.Helper()
	for _, dir := range []interceptor.Direction{interceptor.Up, interceptor.Down} {
		if d.Ended || d.closed[dir] || d.stalled[dir] {
			continue
		}
		before := len(d.Written[dir])
		d.pump(dir)
		if n := len(d.Written[dir]) - before; n > 0 {
			d.fault("%d bytes were queued %s without a kick", n, dir)
		}
	}
	for _, f := range d.Faults() {
		t.Error(f)
	}
}

func (c Case) denied(t *testing.T, talk Conversation) {
	for _, cut := range append(cutters(talk), whole) {
		d := c.hold(talk, DenyAll, &Tape{}, cut)
		c.check(t, d)
		if got := c.normal(interceptor.Up, d.Written[interceptor.Up]); !talk.DeniedAnyhow && !bytes.Equal(got, talk.DeniedUp) {
			t.Fatalf("%d bytes went up although denied: %q", len(got), got)
		}
		if got := c.normal(interceptor.Down, d.Written[interceptor.Down]); talk.DeniedDown != nil && !bytes.Equal(got, talk.DeniedDown) {
			t.Fatalf("client was told\n%q\nwant\n%q", got, talk.DeniedDown)
		}
	}
}

// ends cuts the conversation off at many places, both peers closing there.
func (c Case) ends(t *testing.T, talk Conversation) {
	base := c.hold(talk, AllowAll, &Tape{}, whole)
	for i, step := range talk.Steps {
		stride := max(1, len(step.Bytes)/64)
		for at := 0; at <= len(step.Bytes); at += stride {
			short := talk
			short.Steps = append(append([]Step(nil), talk.Steps[:i]...),
				Step{Dir: step.Dir, Bytes: step.Bytes[:at], EOF: true}, Step{Dir: 1 - step.Dir, EOF: true})
			d := c.hold(short, AllowAll, &Tape{}, whole)
			for _, f := range d.Faults() {
				t.Error(f)
			}
			if !bytes.HasPrefix(c.normal(interceptor.Up, base.Written[interceptor.Up]), c.normal(interceptor.Up, d.Written[interceptor.Up])) {
				t.Fatalf("ended in step %d at %d: what went up is no beginning of the whole", i, at)
			}
		}
	}
}

// unrecorded lets each Append fail in turn.
func (c Case) unrecorded(t *testing.T, talk Conversation) {
	base := &Tape{}
	c.hold(talk, AllowAll, base, whole)
	if base.appends == 0 {
		t.Fatal("nothing was taken down")
	}
	stride := max(1, base.appends/200)
	for at := 1; at <= base.appends; at += stride {
		tape := &Tape{FailAt: at}
		d := c.hold(talk, AllowAll, tape, whole)
		if !d.Ended {
			t.Fatalf("append %d failed and the session went on", at)
		}
		if !errors.Is(d.Err, ErrTape) {
			t.Fatalf("append %d failed and the session ended with %v", at, d.Err)
		}
		if got, most := len(d.Written[interceptor.Up]), base.Upward[at-1]; got > most {
			t.Fatalf("append %d failed and %d bytes went up, %d were recorded", at, got, most)
		}
	}
}

// memory holds the conversation many times on one engine.
func (c Case) memory(t *testing.T, talk Conversation) {
	tape := &Tape{Forget: true}
	d := Start(c.Engine(c.session(tape)), AllowAll, nil)
	turn := func(times int) uint64 {
		for range times {
			for _, step := range talk.Steps {
				d.Send(step.Dir, step.Bytes)
			}
			for dir := range d.Written {
				d.Written[dir], d.unread[dir] = nil, append([]byte(nil), d.unread[dir]...)
			}
			d.Requests, d.feeds = nil, 0
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := turn(100)
	after := turn(2000)
	if d.Ended {
		t.Fatalf("the conversation does not loop: %v", d.Err)
	}
	if after > before+256<<10 {
		t.Errorf("the heap grew from %d to %d bytes over 2000 conversations", before, after)
	}
	runtime.KeepAlive(d)
}

// Fuzz feeds an engine what nobody would send, both ways, cut at random, and
// holds it to: no panic, no endless loop, no growth, the same for two cuts.
func Fuzz(f *testing.F, c Case) {
	for i, talk := range c.Conversations {
		var up, down []byte
		for _, s := range talk.Steps {
			if s.Dir == interceptor.Up {
				up = append(up, s.Bytes...)
				continue
			}
			down = append(down, s.Bytes...)
		}
		f.Add(up, down, uint64(i))
		f.Add(down, up, uint64(i))
	}
	f.Fuzz(func(t *testing.T, up, down []byte, seed uint64) {
		if len(up)+len(down) > 64<<10 {
			return
		}
		if err := c.Random(up, down, seed); err != nil {
			t.Fatal(err)
		}
	})
}

// Random holds one random conversation; Fuzz's body, for tables of regressions.
func (c Case) Random(up, down []byte, seed uint64) error {
	// The client says all it has to say before the server does: who speaks when
	// may change what is said, how it is cut may not.
	talk := Conversation{Steps: []Step{{Dir: interceptor.Up, Bytes: up}, {Dir: interceptor.Down, Bytes: down}, UpEOF(), DownEOF()}}
	one := c.hold(talk, AllowAll, &Tape{}, whole)
	r := rand.New(rand.NewPCG(seed, 2))
	two := c.hold(talk, AllowAll, &Tape{}, func(int) int { return 1 + r.IntN(40) })
	no := c.hold(talk, DenyAll, &Tape{}, whole)
	for _, d := range []*Driver{one, two, no} {
		if f := d.Faults(); len(f) > 0 {
			return fmt.Errorf("contract: %s", f[0])
		}
		growth := c.Growth
		if growth == 0 {
			growth = 1024
		}
		if n := len(d.Written[0]) + len(d.Written[1]); n > growth*(len(up)+len(down))+64<<10 {
			return fmt.Errorf("%d bytes in, %d out", len(up)+len(down), n)
		}
	}
	a, b := c.normal(interceptor.Up, one.Written[interceptor.Up]), c.normal(interceptor.Up, two.Written[interceptor.Up])
	// Of a session that fails, what waited for the piece in which it failed does not go up any more;
	// and a server that answers before it was asked fails in one piece and not in many.
	short := (one.Err != nil || two.Err != nil) && (bytes.HasPrefix(a, b) || bytes.HasPrefix(b, a))
	if !short && !bytes.Equal(a, b) {
		return fmt.Errorf("upward, whole %q, cut %q", a, b)
	}
	return nil
}
