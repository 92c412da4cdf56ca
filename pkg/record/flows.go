package record

// CounterTurned is the counter that checkpoints compare with what was
// recorded: connections of enrolled processes that reached the proxy's listener (package bpf's handed_over, summed
// over the enrollments, less the daemon's own canaries). It must never go down while a recorder runs.
const CounterTurned = "turned"

// flowCount adds up, over the runs, how many connections the kernel had turned between a run's
// first checkpoint and its last, and how many sessions and refusals stood in the log. What is missing is span's to say.
type flowCount struct {
	past     Flows  // the runs before this one
	recorded uint64 // in this run, since its first checkpoint
	known    bool   // there was a checkpoint with the counter in this run
	first    uint64 // the counter there
	kernel   uint64 // turned since then, at the last checkpoint
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
}

func (c *flowCount) sum() Flows {
	if !c.known {
		return c.past
	}
	return Flows{
		Known: true, Kernel: c.past.Kernel + c.kernel, Recorded: c.past.Recorded + c.recorded, Unexplained: c.past.Unexplained,
	}
}
