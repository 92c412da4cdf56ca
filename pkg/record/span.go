package record

import (
	"encoding/json"
	"time"
)

// The counters beside CounterTurned that let the runs of several daemons be held against one another.
const (
	// CounterCanaries counts the daemon's own connections, which are not in CounterTurned. It starts with the daemon.
	CounterCanaries = "canaries"
	// CounterLife names what the kernel counts in: as long as it is the same, the count goes on over a daemon's end.
	CounterLife = "life"
)

// grace is how long a connection that the kernel has counted may take to be recorded: refusals are
// told in sums of a second, and a busy host is slow.
const grace = 10 * time.Second

// span holds the log against the kernel's count, run by run and each run against the one before it: the
// count goes on when a daemon is killed, so what was removed from a log's end before the next start is missing there.
//
// The level at a checkpoint is how much further the kernel's count is than the log's. What is
// under way raises it for a moment, what was lost for good. So a level is settled a while later, by what was recorded since:
// it is then never more than what was lost, and less where there was traffic. A killed daemon loses what waited
// to be accepted, or to be told in a sum; one that ended in order has told all it ever will.
type span struct {
	recorded uint64 // sessions and refusals, ever
	canaries uint64 // of the runs that are over
	missing  uint64 // within those
	past     level  // where the last run that counted ended
	now      run
}

// level is where the kernel's count stands against the log's. life 0: not known.
type level struct {
	life uint64
	at   int64
}

// run is what one daemon's checkpoints say.
type run struct {
	start       Place
	closed      bool // the run before ended in order
	life        uint64
	checks      int
	turned      uint64 // at the last checkpoint
	first, last int64  // levels
	settled     int64  // the latest level that is
	sure        bool   // there is one
	waiting     []waiting
	heard, told uint64 // canaries, as the daemon counted and as the log tells them
}

// waiting is a level that is not settled yet.
type waiting struct {
	since    time.Time
	level    int64
	recorded uint64
}

// gap is what is missing between two runs.
type gap struct {
	start  Place // of the later
	closed bool  // the earlier ended in order
	lost   uint64
}

// record counts sessions or refusals that were recorded at a time.
func (s *span) record(n uint64, at time.Time) {
	s.settle(at.Add(-grace))
	s.recorded += n
}

// canary counts what a capture.canary event tells of the daemon's own connections.
func (s *span) canary(payload []byte) {
	var ev struct {
		Result struct {
			Families []string `json:"families"`
		} `json:"result"`
	}
	if json.Unmarshal(payload, &ev) == nil {
		s.now.told += uint64(len(ev.Result.Families))
	}
}

// checkpoint takes one checkpoint's counters into account.
func (s *span) checkpoint(c claims, at time.Time) {
	turned, counted := c.Counters[CounterTurned]
	if !counted {
		return
	}
	r := &s.now
	if r.checks > 0 && turned < r.turned {
		*r = run{start: r.start} // the kernel counts from the start again
	}
	s.settle(at.Add(-grace))
	if c.Closing {
		s.settle(at) // nothing is under way any more
	}
	r.life, r.heard, r.turned = c.Counters[CounterLife], c.Counters[CounterCanaries], turned
	r.last = s.level()
	if r.checks == 0 {
		r.first = r.last
	}
	r.checks++
	if !c.Closing { // what a daemon that ends has not accepted any more is refused, not skipped
		r.waiting = append(r.waiting, waiting{at, r.last, s.recorded})
	}
}

func (s *span) level() int64 {
	return int64(s.now.turned) - int64(s.canaries) - int64(s.recorded)
}

// settle settles the levels of checkpoints up to a time.
func (s *span) settle(upto time.Time) {
	r := &s.now
	for len(r.waiting) > 0 && !r.waiting[0].since.After(upto) {
		w := r.waiting[0]
		r.settled, r.sure = w.level-int64(s.recorded-w.recorded), true
		r.waiting = r.waiting[1:]
	}
}

// restart begins the next run, and tells what the one that is over lacked when it began.
func (s *span) restart(start Place, closed bool) gap {
	g := s.gap()
	s.missing = s.lost()
	next := run{start: start, closed: closed}
	if s.now.checks == 0 {
		next.closed = closed && s.now.closed // it counted nothing: the next is held against the one before it
	} else {
		s.past = level{s.now.life, s.now.last}
		s.canaries += max(s.now.heard, s.now.told)
	}
	s.now = next
	return g
}

// lost is how many connections the runs so far did not record, although the kernel handed them over.
func (s *span) lost() uint64 {
	if !s.now.sure {
		return s.missing
	}
	return s.missing + uint64(max(0, s.now.settled-s.now.first))
}

// gap tells what is missing between this run and the one before. Before a level is settled, it is told
// behind a killed daemon only, which is doubted anyway.
func (s *span) gap() gap {
	r := s.now
	if r.checks == 0 || r.life == 0 || s.past.life != r.life || r.closed && !r.sure {
		return gap{}
	}
	at := s.level()
	if r.sure {
		at = r.settled
	}
	return gap{start: r.start, closed: r.closed, lost: uint64(max(0, min(at, r.first)-s.past.at))}
}
