package record

// CounterTurned is the counter that checkpoints compare with what was
// recorded: connections of enrolled processes the kernel turned to the proxy.
const CounterTurned = "turned"

// flowCount compares, at each checkpoint, how many connections the kernel had
// turned with how many sessions and refusals stood in the log.
//
// A connection is counted a moment before it is recorded, so the difference at
// one checkpoint may be connections under way; what is still missing at
// a later one was lost. The loss is thus the smaller of the last two differences.
type flowCount struct {
	recorded uint64 // so far
	known    bool
	base     uint64 // the counter at the first checkpoint, or after it was reset, less what was recorded then
	kernel   uint64 // over all checkpoints
	raw      uint64 // the counter at the last checkpoint
	before   uint64 // recorded at the first checkpoint
	gaps     [2]int64
}

// checkpoint takes one checkpoint's counters into account. A counter
// that went down was reset (a reboot): it counts on from there.
func (c *flowCount) checkpoint(counters map[string]uint64) {
	turned, ok := counters[CounterTurned]
	if !ok {
		return
	}
	switch {
	case !c.known:
		c.known, c.before = true, c.recorded
	case turned >= c.raw:
		c.kernel += turned - c.raw
	default:
		c.kernel += turned
	}
	c.raw = turned
	c.gaps[0] = c.gaps[1]
	c.gaps[1] = int64(c.kernel) - int64(c.recorded-c.before)
}

func (c *flowCount) sum() Flows {
	if !c.known {
		return Flows{}
	}
	return Flows{
		Known: true, Kernel: c.kernel, Recorded: c.recorded - c.before,
		Missing: uint64(max(0, min(c.gaps[0], c.gaps[1]))),
	}
}
