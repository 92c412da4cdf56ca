package main

import (
	"context"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/approval"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/metrics"
	"github.com/chaperone-dev/chaperone/pkg/record"
	"github.com/chaperone-dev/chaperone/rules"
)

// Neighbours on a floor do not know each other. Here they meet: each type makes
// one of them look as another wants it.

// recorder is a record.Recorder as the interceptor wants it.
type recorder struct{ *record.Recorder }

func (r recorder) Begin(session string, f *flow.Flow) (interceptor.Recording, error) {
	tape, err := r.Recorder.Begin(session, f)
	if err != nil {
		return nil, err
	}
	return recording{tape}, nil
}

type recording struct{ *record.Tape }

func (r recording) Append(kind interceptor.TapeKind, body []byte) error {
	return r.Tape.Append(record.Kind(kind), body)
}

func (r recording) End(outcome string) error {
	_, err := r.Tape.End(outcome)
	return err
}

// asker is the desk as the interceptor wants it.
type asker struct{ *approval.Desk }

func (a asker) Ask(ctx context.Context, f *flow.Flow, r *flow.Request, d rules.Decision) (interceptor.Ask, error) {
	ask, err := a.Desk.Ask(ctx, f, r, d)
	if err != nil {
		return nil, err
	}
	return ask, nil
}

// people are the policy's, as the desk wants them.
type people struct{ law *law }

func (p people) Members(group string) ([]string, bool) {
	for _, person := range p.law.policy().People() {
		if person.Name == group {
			return person.Members, true
		}
	}
	return nil, false
}

// meter counts, and lets the desk forget what it remembered for a flow that is over.
type meter struct {
	*metrics.Metrics
	desk *approval.Desk
}

func (m meter) Flow(f *flow.Flow, delta int) {
	m.Metrics.Flow(f, delta)
	if delta < 0 {
		m.desk.Forget(f.ID)
	}
}

// sources are what the metrics ask at each scrape.
func (h *house) sources() metrics.Sources {
	return metrics.Sources{
		Asks:   h.desk.Counts,
		Kernel: h.kernelCounts,
		Canary: func() (time.Time, bool) {
			c := h.worstCanary()
			return c.Verified, c.Error == ""
		},
		Failing:  h.failing,
		Canaries: h.tenants.canaries.Heard,
		Policy: func() metrics.Policy {
			generation, loaded, err := h.law.standing()
			return metrics.Policy{Generation: generation, Loaded: loaded, Rejected: err != nil}
		},
		Seq: func() uint64 { return h.record.Mark().Seq },
	}
}

// kernelCounts are the kernel's counters over all enrollments there were.
func (h *house) kernelCounts() (map[string]uint64, error) {
	counts, err := h.door.Counts()
	sums := map[string]uint64{}
	for _, c := range counts {
		if c.Enrollment == 0 {
			sums[c.What] = c.N
		}
	}
	return sums, err
}

// counters are what the record's checkpoints are held against: the connections that
// the kernel handed to the proxy, less the daemon's own canaries. Nothing is claimed
// before the kernel half is open, nor where it cannot be read; after it is closed the last count stands.
func (h *house) counters() map[string]uint64 {
	h.counting.Lock()
	defer h.counting.Unlock()
	if h.counted {
		h.recount()
	}
	return h.turned
}

// count begins to read the kernel's count, or ends with a last look at it.
func (h *house) count(on bool) {
	h.counting.Lock()
	defer h.counting.Unlock()
	h.counted = on
	h.recount()
}

// recount reads the kernel's count. What was recorded before is in it. Called with counting held.
func (h *house) recount() {
	heard := h.tenants.canaries.Heard()
	handed, err := h.door.HandedOver()
	if err != nil {
		h.log.Error("kernel counters not read", "err", err)
		return
	}
	h.turned = map[string]uint64{
		record.CounterTurned: handed - min(handed, heard), record.CounterCanaries: heard, record.CounterLife: h.life,
	}
}
