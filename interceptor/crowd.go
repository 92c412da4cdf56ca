package interceptor

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// A subagent may open connections faster than each can be told of in the log, and
// more than there are descriptors. So an identity has a number of places, and what is turned away for
// want of one, or refused over and over, is told of in sums.
const (
	sumEvery      = time.Second
	refusalsAlone = 20 // of an identity within sumEvery, each with an entry of its own
	placesShare   = 8  // an identity may take this part of the descriptors, at three a connection
)

// crowd counts connections by identity. mu guards by.
type crowd struct {
	mu sync.Mutex
	by map[string]*guests
}

// guests are one identity's connections.
type guests struct {
	inside  int
	refused int // since from, each with an entry of its own
	from    time.Time
	sums    int  // since the last sum
	summing bool // somebody waits to tell the sum
}

func (c *crowd) of(identity string) *guests {
	if c.by == nil {
		c.by = map[string]*guests{}
	}
	if c.by[identity] == nil { // as many as the policy has identities
		c.by[identity] = &guests{}
	}
	return c.by[identity]
}

// enter takes a place, if there are fewer than places taken; leave gives it back.
func (c *crowd) enter(identity string, places int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.of(identity)
	if g.inside >= places {
		return false
	}
	g.inside++
	return true
}

func (c *crowd) leave(identity string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of(identity).inside--
}

// alone says that a refusal gets an entry of its own.
func (c *crowd) alone(identity string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.of(identity)
	if now.Sub(g.from) > sumEvery {
		g.from, g.refused = now, 0
	}
	g.refused++
	return g.refused <= refusalsAlone
}

// add adds one to the sum; it says whether the caller is the one to tell it.
func (c *crowd) add(identity string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.of(identity)
	g.sums++
	first := !g.summing
	g.summing = true
	return first
}

// take gives the sum to who tells it.
func (c *crowd) take(identity string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.of(identity)
	n := g.sums
	g.sums, g.summing = 0, false
	return n
}

// places is how many connections an identity may have at a time.
func (s *Server) places() int {
	if s.Places > 0 {
		return s.Places
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024 / placesShare
	}
	return max(1, int(min(limit.Cur, 1<<20))/placesShare)
}

// turnAway resets a connection without a word, and has it told of in a sum. who finds its process,
// which costs more than such a connection is worth: it is asked once a sum.
func (s *Server) turnAway(ctx context.Context, conn net.Conn, f *flow.Flow, who func() flow.Process, why string) {
	s.Meter.Refused("crowd")
	reset(conn)
	if !s.crowd.add(f.Identity) {
		return
	}
	f.Process = who()
	wait := time.NewTimer(sumEvery)
	defer wait.Stop()
	select {
	case <-ctx.Done():
	case <-wait.C:
	}
	n := s.crowd.take(f.Identity)
	s.Log.Warn("connections turned away", "identity", f.Identity, "count", n, "why", why)
	err := s.Journal.Log(flow.Event{
		Type: flow.CaptureRefused, Flow: f, Identity: f.Identity, Process: &f.Process,
		Verdict: &flow.Decided{Verdict: flow.Deny, Reason: why},
		Result:  map[string]any{"count": n, "summed": fmt.Sprintf("of this identity, in %s, the first of which is shown", sumEvery)},
	})
	if err != nil {
		s.unrecorded.Add(int64(n))
		s.Log.Error("refusals not recorded", "identity", f.Identity, "count", n, "err", err)
	}
}

// confess tells of refusals that could not be recorded when they were made (a full
// disk), as soon as they can be: the kernel has counted their connections.
func (s *Server) confess() {
	n := s.unrecorded.Swap(0)
	if n == 0 {
		return
	}
	err := s.Journal.Log(flow.Event{
		Type:    flow.CaptureRefused,
		Verdict: &flow.Decided{Verdict: flow.Deny, Reason: "the record could not be written"},
		Result:  map[string]any{"count": n, "summed": "refused while the record could not be written"},
	})
	if err != nil {
		s.unrecorded.Add(n)
	}
}
