package record

// CounterTurned is the counter that checkpoints compare with what was
// recorded: connections of enrolled processes that reached the proxy's listener (package bpf's handed_over, summed
// over the enrollments, less the daemon's own canaries). It must never go down while a recorder runs.
const CounterTurned = "turned"

// flowCount compares, at each checkpoint, how many connections the kernel had
// turned with how many sessions and refusals stood in the log.
//
// A connection is counted a moment before it is recorded, so the difference at
// one checkpoint may be connections under way; what is still missing at
// a later one was lost. The loss is thus the smaller of the last two differences.
// Each run of the daemon is counted by itself: what waited to be accepted when one was killed was refused, not skipped.
// Runs are held against one another by span.
type flowCount struct {
	past     Flows  // the runs before this one
	recorded uint64 // in this run, since its first checkpoint
	known    bool   // there was a checkpoint with the counter in this run
	first    uint64 // the counter there
	kernel   uint64 // turned since then, at the last checkpoint
	gaps     [2]int64
}

// restart ends a run's account.
func (c *flowCount) restart() { *c = flowCount{past: c.sum()} }

// record counts sessions or refusals.
func (c *flowCount) record(n uint64) { c.recorded += n }

// checkpoint takes one checkpoint's counters into account.
func (c *flowCount) checkpoint(counters map[string]uint64) {
	turned, ok := counters[CounterTurned]
	if !ok {
		return
	}
	if !c.known || turned < c.first {
		c.known, c.first, c.recorded = true, turned, 0
	}
	c.kernel = turned - c.first
	c.gaps = [2]int64{c.gaps[1], int64(c.kernel) - int64(c.recorded)}
}

func (c *flowCount) sum() Flows {
	if !c.known {
		return c.past
	}
	return Flows{
		Known: true, Kernel: c.past.Kernel + c.kernel, Recorded: c.past.Recorded + c.recorded,
		Missing:     c.past.Missing + uint64(max(0, min(c.gaps[0], c.gaps[1]))),
		Unexplained: c.past.Unexplained,
	}
}
