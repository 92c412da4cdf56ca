package sqlread

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Limits bound a pool; a zero field takes the default.
type Limits struct {
	Children int           // processes, started when needed; 2
	Patience time.Duration // for one text; 2 s
	Cache    int64         // bytes of readings kept; 16 MiB
	Waiting  int           // texts waiting for a child; 1024
}

// ErrBusy says that too many texts wait to be read.
var ErrBusy = errors.New("too many statements wait to be read")

// ErrClosed says that the pool was closed.
var ErrClosed = errors.New("the statement reader is closed")

const (
	retire   = 50_000           // texts after which a child is replaced, before its limits meet it
	remember = time.Minute      // for which a text that took too long is not tried again
	longest  = 32 << 20         // bytes; a longer text is not read
	starting = 10 * time.Second // to start a child, on a host under load
)

// Pool reads texts in confined children and keeps the readings. It is a Reader.
type Pool struct {
	argv    []string
	limits  Limits
	cache   *cache
	slots   chan *child // one place per child; nil: not started
	waiting atomic.Int64
	spawns  chan chan spawned
	done    chan struct{} // closed by Close
	close   sync.Once
	ended   sync.WaitGroup // the spawner
}

type spawned struct {
	child *child
	err   error
}

// Start makes a pool whose children run argv, which must end in Serve; argv[0] is
// a path, "/proc/self/exe" for this binary. No process starts before the first text.
// The caller closes the pool.
func Start(argv []string, limits Limits) *Pool {
	p := &Pool{argv: argv, limits: limits.filled(), spawns: make(chan chan spawned), done: make(chan struct{})}
	p.cache = newCache(p.limits.Cache)
	p.slots = make(chan *child, p.limits.Children)
	for range p.limits.Children {
		p.slots <- nil
	}
	p.ended.Add(1)
	go p.spawner()
	return p
}

func (l Limits) filled() Limits {
	if l.Children == 0 {
		l.Children = 2
	}
	if l.Patience == 0 {
		l.Patience = 2 * time.Second
	}
	if l.Cache == 0 {
		l.Cache = 16 << 20
	}
	if l.Waiting == 0 {
		l.Waiting = 1024
	}
	return l
}

// spawner starts all children on one thread that lives as long as the pool: the
// kernel sends a child its parent death signal when the thread that made it ends.
func (p *Pool) spawner() {
	defer p.ended.Done()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		select {
		case <-p.done:
			return
		case to := <-p.spawns:
			c, err := spawn(p.argv, starting)
			to <- spawned{c, err}
		}
	}
}

// Close stops the children; texts that are being read are finished first.
func (p *Pool) Close() error {
	p.close.Do(func() {
		close(p.done)
		for range p.limits.Children {
			if c := <-p.slots; c != nil {
				c.stop()
			}
		}
		p.ended.Wait()
	})
	return nil
}

// Read implements Reader.
func (p *Pool) Read(ctx context.Context, text string) (*Reading, error) {
	if r := p.cache.get(text); r != nil {
		return r, nil
	}
	text = strings.Clone(text) // it may lie in a read buffer
	if len(text) > longest {
		return Refuse(text, "it is longer than can be read"), nil
	}
	if p.waiting.Add(1) > int64(p.limits.Waiting) {
		p.waiting.Add(-1)
		return nil, ErrBusy
	}
	defer p.waiting.Add(-1)
	select {
	case c := <-p.slots:
		return p.readIn(c, text)
	case <-p.done:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the statement reader: %w", ctx.Err())
	}
}

// readIn reads in the slot of c, and gives the slot back.
func (p *Pool) readIn(c *child, text string) (*Reading, error) {
	defer func() { p.slots <- c }()
	if r := p.cache.get(text); r != nil {
		return r, nil // another read it meanwhile
	}
	if c != nil && (c.read >= retire || c.gone()) {
		c.stop()
		c = nil
	}
	if c == nil {
		var err error
		if c, err = p.spawn(); err != nil {
			c = nil
			return nil, err
		}
	}
	a, err := c.ask(text, p.limits.Patience)
	if err != nil {
		c.stop()
		c = nil
		return p.killed(text, err), nil
	}
	r := a.reading(text)
	p.cache.put(text, r, time.Time{})
	return r, nil
}

// spawn asks the spawner for a child.
func (p *Pool) spawn() (*child, error) {
	to := make(chan spawned, 1)
	select {
	case <-p.done:
		return nil, ErrClosed
	case p.spawns <- to:
	}
	s := <-to
	return s.child, s.err
}

// killed is the reading of a text that its reader did not survive; it is remembered.
func (p *Pool) killed(text string, err error) *Reading {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r := Refuse(text, "reading it took too long")
		p.cache.put(text, r, time.Now().Add(remember))
		return r
	}
	why := "its answer was not understood"
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) {
		why = "reading it ended the reader"
	}
	r := Refuse(text, why)
	p.cache.put(text, r, time.Time{})
	return r
}
