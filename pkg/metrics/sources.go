package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Sources are asked at each scrape; a nil one is not served. They must answer quickly.
type Sources struct {
	Asks func() map[string]int // by state
	// Kernel brings the counters of the BPF programs, by event.
	Kernel func() (map[string]uint64, error)
	Canary func() (verified time.Time, ok bool) // when one last came through, and whether the last of every enrollment did
	// Failing counts the enrollments whose last canary failed, by identity.
	Failing func() map[string]int
	// Canaries is how many of the connections that the kernel handed over were the daemon's own tests.
	Canaries func() uint64
	Policy   func() Policy
	Seq      func() uint64 // of the record's newest entry
}

// Policy is the state of the policy.
type Policy struct {
	Generation uint64
	Loaded     time.Time
	Rejected   bool // the last edit was not taken
}

// scrape collects from Sources.
type scrape struct {
	Sources
	asks, kernel, kernelOK, canary, canaryOK, failing, canaries, generation, loaded, rejected, seq *prometheus.Desc
}

func (s Sources) collector() prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("chaperone_"+name, help, labels, nil)
	}
	return &scrape{
		Sources:    s,
		asks:       desc("asks", "Asks the desk knows, by state.", "state"),
		kernel:     desc("kernel_events_total", "What the BPF programs counted, the daemon's own canaries included.", "event"),
		kernelOK:   desc("kernel_readable", "1 when the BPF programs' counters could be read."),
		canary:     desc("canary_verified_timestamp_seconds", "When a canary connection last came through; 0: never."),
		canaryOK:   desc("canary_ok", "1 when the last canary of every enrollment came through."),
		failing:    desc("canary_failing", "Enrollments whose last canary failed.", "identity"),
		canaries:   desc("canary_connections_total", "Canary connections that the kernel handed over, a part of its handed_over."),
		generation: desc("policy_generation", "Generation of the policy in force."),
		loaded:     desc("policy_loaded_timestamp_seconds", "When the policy in force was loaded."),
		rejected:   desc("policy_rejected", "1 when the last edit of the policy was not taken."),
		seq:        desc("record_seq", "Sequence number of the record's newest entry."),
	}
}

// Describe says nothing: which metrics there are depends on the sources.
func (s *scrape) Describe(chan<- *prometheus.Desc) {}

// Collect asks the sources.
func (s *scrape) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if s.Asks != nil {
		for state, n := range s.Asks() {
			gauge(s.asks, float64(n), state)
		}
	}
	if s.Canary != nil {
		verified, ok := s.Canary()
		gauge(s.canary, seconds(verified))
		gauge(s.canaryOK, truth(ok))
	}
	if s.Failing != nil {
		for identity, n := range s.Failing() {
			gauge(s.failing, float64(n), identity)
		}
	}
	if s.Canaries != nil {
		out <- prometheus.MustNewConstMetric(s.canaries, prometheus.CounterValue, float64(s.Canaries()))
	}
	if s.Policy != nil {
		p := s.Policy()
		gauge(s.generation, float64(p.Generation))
		gauge(s.loaded, seconds(p.Loaded))
		gauge(s.rejected, truth(p.Rejected))
	}
	if s.Seq != nil {
		gauge(s.seq, float64(s.Seq()))
	}
	if s.Kernel != nil {
		events, err := s.Kernel()
		gauge(s.kernelOK, truth(err == nil))
		for event, n := range events {
			out <- prometheus.MustNewConstMetric(s.kernel, prometheus.CounterValue, float64(n), event)
		}
	}
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1e3
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
