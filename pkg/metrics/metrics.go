// Package metrics counts what Chaperone does, for Prometheus.
//
// # Why
//
// A registry of its own, so that nothing a library registers behind our back
// is served. Labels are names from the policy and closed lists only: a
// subagent must not be able to make time series. Should more of them come than a
// sane policy has, the rest is counted together as "other".
package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Build is what chaperone_build_info says.
type Build struct {
	Version, Commit, Go string
}

// Metrics is an interceptor.Meter. Its methods neither block nor, once they
// have seen a set of names, allocate.
type Metrics struct {
	registry *prometheus.Registry
	opened   *family[flowNames, prometheus.Counter]
	live     *family[flowNames, prometheus.Gauge]
	requests *family[requestNames, prometheus.Counter]
	masked   *family[pair, prometheus.Counter]
	bytes    *family[string, *[2]prometheus.Counter]
	refused  *family[string, prometheus.Counter]
	waits    prometheus.Histogram

	mu    sync.Mutex                  // guards flows
	flows map[string]prometheus.Gauge // by flow id: where it was counted, should its names change meanwhile
}

type flowNames struct {
	identity, target string
	seen             flow.Seen
}

type requestNames struct {
	identity, target string
	verdict          flow.Verdict
}

type pair struct{ identity, target string }

// New makes the metrics of one daemon.
func New(b Build, s Sources) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), flows: map[string]prometheus.Gauge{}}
	m.countFlows()
	m.countRequests()
	m.waits = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "chaperone_record_wait_seconds", Help: "How long requests waited for their record to be on disk.",
		Buckets: prometheus.ExponentialBuckets(50e-6, 2, 16), // 50 µs to 1.6 s
	})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "chaperone_build_info", Help: "Always 1; the build is in the labels.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "go": b.Go},
	})
	build.Set(1)
	m.registry.MustRegister(m.waits, build, s.collector(),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *Metrics) countFlows() {
	opened := m.counter("chaperone_flows_total", "Flows opened.", "identity", "target", "seen")
	m.opened = newFamily(func(n flowNames) (prometheus.Counter, error) {
		return opened.GetMetricWithLabelValues(n.identity, n.target, string(n.seen))
	}, flowNames{other, other, other})
	live := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "chaperone_flows", Help: "Flows that are open."}, []string{"identity", "target", "seen"})
	m.registry.MustRegister(live)
	m.live = newFamily(func(n flowNames) (prometheus.Gauge, error) {
		return live.GetMetricWithLabelValues(n.identity, n.target, string(n.seen))
	}, flowNames{other, other, other})
	bytes := m.counter("chaperone_bytes_total", "Bytes forwarded; up is towards the server.", "identity", "direction")
	m.bytes = newFamily(func(identity string) (*[2]prometheus.Counter, error) {
		up, err := bytes.GetMetricWithLabelValues(identity, interceptor.Up.String())
		if err != nil {
			return nil, err
		}
		down, err := bytes.GetMetricWithLabelValues(identity, interceptor.Down.String())
		return &[2]prometheus.Counter{interceptor.Up: up, interceptor.Down: down}, err
	}, other)
	refused := m.counter("chaperone_refused_total", "Connections refused before they had a session.", "reason")
	m.refused = newFamily(func(reason string) (prometheus.Counter, error) { return refused.GetMetricWithLabelValues(reason) }, other)
}

func (m *Metrics) countRequests() {
	requests := m.counter("chaperone_requests_total", "Requests decided. A held one counts as hold when it is put to people, and once more with their answer.", "identity", "target", "verdict")
	m.requests = newFamily(func(n requestNames) (prometheus.Counter, error) {
		return requests.GetMetricWithLabelValues(n.identity, n.target, string(n.verdict))
	}, requestNames{other, other, other})
	masked := m.counter("chaperone_masked_fields_total", "Fields hidden from a subagent.", "identity", "target")
	m.masked = newFamily(func(n pair) (prometheus.Counter, error) {
		return masked.GetMetricWithLabelValues(n.identity, n.target)
	}, pair{other, other})
}

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(v)
	return v
}

// Flow counts a flow as opened (+1) or closed (-1).
func (m *Metrics) Flow(f *flow.Flow, delta int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if delta < 0 {
		if gauge, ok := m.flows[f.ID]; ok {
			gauge.Dec()
			delete(m.flows, f.ID)
		}
		return
	}
	if _, twice := m.flows[f.ID]; twice {
		return
	}
	names := flowNames{f.Identity, f.Target, f.Seen}
	m.opened.get(names).Inc()
	gauge := m.live.get(names)
	gauge.Inc()
	m.flows[f.ID] = gauge
}

// Request counts a decided request.
func (m *Metrics) Request(identity, target string, v flow.Verdict) {
	m.requests.get(requestNames{identity, target, v}).Inc()
}

// Bytes counts forwarded bytes.
func (m *Metrics) Bytes(identity string, dir interceptor.Direction, n int) {
	m.bytes.get(identity)[dir].Add(float64(n))
}

// Masked counts hidden fields.
func (m *Metrics) Masked(identity, target string, n int) {
	m.masked.get(pair{identity, target}).Add(float64(n))
}

// Recorded notes one wait for the disk.
func (m *Metrics) Recorded(d time.Duration) { m.waits.Observe(d.Seconds()) }

// Refused counts a connection that got no session; reasons are a closed list of the caller's.
func (m *Metrics) Refused(reason string) { m.refused.get(reason).Inc() }
