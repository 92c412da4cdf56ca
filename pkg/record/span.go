package record

import "encoding/json"

// The counters beside CounterTurned that let the runs of several daemons be held against one another.
const (
	// CounterCanaries counts the daemon's own connections, which are not in CounterTurned. It starts with the daemon.
	CounterCanaries = "canaries"
	// CounterLife names what the kernel counts in: as long as it is the same, the count goes on over a daemon's end.
	CounterLife = "life"
)

// span holds a run against the one before it: the kernel's count goes on when a
// daemon is killed, so what was removed from the end of a log before the next start is missing there.
//
// The level at a checkpoint is how much further the kernel's count is than the log's. What is
// under way raises it for a moment, what was lost for good: so the loss between two runs is the least level
// of the later less the level the earlier ended at. A killed daemon loses what waited
// to be accepted, or to be told in a sum; one that ended in order has told all it ever will.
type span struct {
	recorded uint64 // sessions and refusals, ever
	canaries uint64 // of the runs that are over
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
	least, last int64  // levels
	floor       int64  // the smaller one of the last two levels
	heard, told uint64 // canaries, as the daemon counted and as the log tells them
}

// gap is what is missing between two runs.
type gap struct {
	start  Place // of the later
	closed bool  // the earlier ended in order
	sure   bool  // nothing of it can be under way
	lost   uint64
}

// record counts sessions or refusals.
func (s *span) record(n uint64) { s.recorded += n }

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
func (s *span) checkpoint(counters map[string]uint64, closing bool) {
	turned, counted := counters[CounterTurned]
	if !counted || counters[CounterLife] == 0 {
		return
	}
	r := &s.now
	r.life, r.heard, r.turned = counters[CounterLife], counters[CounterCanaries], turned
	at := s.level()
	if r.checks == 0 {
		r.least, r.last = at, at
	}
	r.least, r.floor, r.last = min(r.least, at), min(r.last, at), at
	if closing {
		r.floor = at // nothing is under way any more
	}
	r.checks++
}

func (s *span) level() int64 {
	return int64(s.now.turned) - int64(s.canaries) - int64(s.recorded)
}

// restart begins the next run, and tells what the one that is over lacked when it began.
func (s *span) restart(start Place, closed bool) gap {
	g := s.gap()
	next := run{start: start, closed: closed}
	if s.now.checks == 0 {
		next.closed = closed && s.now.closed // it counted nothing: the next is held against the one before it
	} else {
		s.past = level{s.now.life, s.now.floor}
		s.canaries += max(s.now.heard, s.now.told)
	}
	s.now = next
	return g
}

// gap tells what is missing between this run and the one before.
func (s *span) gap() gap {
	r := s.now
	if r.checks == 0 || s.past.life != r.life {
		return gap{}
	}
	least := r.least
	if r.checks == 1 {
		least = min(least, s.level()) // what was under way then, and is recorded now
	}
	return gap{start: r.start, closed: r.closed, sure: r.checks > 1, lost: uint64(max(0, least-s.past.at))}
}
