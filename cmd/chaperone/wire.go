package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chaperone-dev/chaperone/bpf"
	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/protocols"
	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/approval"
	"github.com/chaperone-dev/chaperone/pkg/ca"
	"github.com/chaperone-dev/chaperone/pkg/cgroup2"
	"github.com/chaperone-dev/chaperone/pkg/config"
	"github.com/chaperone-dev/chaperone/pkg/enroll"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/identity"
	"github.com/chaperone-dev/chaperone/pkg/metrics"
	"github.com/chaperone-dev/chaperone/pkg/record"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// house is everything that lives as long as the daemon.
type house struct {
	config  *config.Config
	log     *slog.Logger
	started time.Time

	law       *law
	record    *record.Recorder
	desk      *approval.Desk
	door      *bpf.Door
	listeners []net.Listener
	tenants   *tenancy
	reader    *sqlread.Pool
	server    *interceptor.Server
	control   *api.Server
	meter     *metrics.Metrics

	vacates  bool       // once it is closed nothing stays in the kernel, if nobody is enrolled
	life     uint64     // of the kernel's count
	counting sync.Mutex // guards counted and turned
	counted  bool       // the kernel's count can be read
	turned   map[string]uint64
	notes    atomic.Pointer[[]string] // what this host cannot enforce; nil: not looked at yet

	shutdown context.CancelFunc // begins the drain
	closing  context.Context    // ends when the drain begins
	closers  []func() error
	served   sync.WaitGroup // what lives until the drain is over
	doors    sync.WaitGroup // what is closed by close
}

// build sets the house up, from the ground: record, law, desk, kernel, data
// path, control. What was built is taken down again when something fails.
func build(ctx context.Context, c *config.Config, log *slog.Logger) (_ *house, err error) {
	h := &house{config: c, log: log, started: time.Now(), closing: ctx}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	for _, step := range []func(context.Context) error{
		h.entitle, h.openRecord, h.openLaw, h.openDesk, h.openKernel, h.openDataPath, h.openMetrics, h.openControl,
	} {
		if err := step(ctx); err != nil {
			return nil, h.advise(err)
		}
	}
	return h, nil
}

// later has close called when the house is taken down, last first.
func (h *house) later(close func() error) { h.closers = append(h.closers, close) }

func (h *house) close() error {
	var errs []error
	for i := len(h.closers) - 1; i >= 0; i-- {
		errs = append(errs, h.closers[i]())
	}
	h.closers = nil
	h.doors.Wait()
	return errors.Join(errs...)
}

func (h *house) state(name string) string { return filepath.Join(h.config.StateDir, name) }

func (h *house) openRecord(context.Context) error {
	if err := os.MkdirAll(h.config.StateDir, 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	r, err := record.Open(record.Config{
		Dir: h.state("record"), Counters: h.counters,
		FlushEvery: h.config.Record.FlushInterval, MaxBytes: h.config.Record.Quota,
	})
	if errors.Is(err, record.ErrBusy) {
		return api.Hint(err, "another chaperone uses this state directory: stop it, or name another with --state-dir")
	}
	if err != nil {
		return err
	}
	if err := r.Err(); err != nil {
		h.log.Error("flows are refused until the record can be written", "err", err)
	}
	h.record = r
	h.later(r.Close)
	return nil
}

func (h *house) openLaw(ctx context.Context) error {
	key, err := maskKey(h.state("mask.key"))
	if err != nil {
		return err
	}
	h.law = &law{path: h.config.Policy, key: key, log: h.log, changed: h.lawChanged}
	return h.law.reload(ctx)
}

// lawChanged tells record, log and metrics what became of a policy.
func (h *house) lawChanged(generation uint64, err error) {
	ev := flow.Event{Type: flow.PolicyLoaded, Result: map[string]any{"source": h.config.Policy, "generation": generation}}
	if err != nil {
		ev.Type = flow.PolicyRejected
		ev.Result["complaint"] = err.Error()
		if generation > 0 { // else it is why there will be no daemon, and said as such
			h.log.Error("policy not taken", "err", err, "in_force", generation)
		}
	} else {
		h.log.Info("policy in force", "source", h.config.Policy, "generation", generation)
	}
	if err := h.record.Log(ev); err != nil {
		h.log.Error("policy change not recorded", "err", err)
	}
}

func (h *house) openDesk(context.Context) error {
	hold := h.config.Hold
	desk, err := approval.Open(h.state("asks"), h.record, people{h.law}, time.Now, approval.Limits{
		PendingPerIdentity: hold.PendingPerIdentity, PerMinute: hold.PerMinute, Timeout: hold.Timeout,
		StickyDeny: hold.StickyDeny, LongestScope: hold.LongestScope,
	})
	if err != nil {
		return err
	}
	h.desk = desk
	h.later(desk.Close)
	return nil
}

func (h *house) openKernel(ctx context.Context) error {
	root, err := cgroup2.Root()
	if err != nil {
		return err
	}
	if h.listeners, err = enroll.Listen(ctx, h.config.Listen.Port); err != nil {
		return err
	}
	for _, l := range h.listeners {
		h.later(func() error { l.Close(); return nil }) // closed by Serve already, unless it never ran
	}
	if err := checkPort(h.config.Listen.Port); err != nil {
		return err
	}
	port := uint16(h.listeners[0].Addr().(*net.TCPAddr).Port)
	h.vacates = !exists(h.config.PinDir) // a house that is not built leaves what it found
	h.door, err = bpf.Open(bpf.Options{PinDir: h.config.PinDir, CgroupRoot: root, Port: port})
	if errors.Is(err, bpf.ErrBusy) {
		return api.Hint(err, "another chaperone uses these pins: stop it, or name others with --pin-dir")
	}
	if errors.Is(err, bpf.ErrVersion) {
		return api.Hint(err, "chaperone cleanup, which frees what is enrolled, then start again and enroll again")
	}
	if err != nil {
		return errors.Join(err, h.vacate(nil))
	}
	h.later(h.closeDoor)
	registry, err := enroll.Open(root, h.state(enrollments), h.door)
	if err != nil {
		return err
	}
	h.tenants = &tenancy{
		root: root, yard: enroll.NewYard(root, h.config.PinDir), registry: registry,
		proofs: map[uint32]proof{}, uncovered: map[uint32]int{}, leaving: map[string]bool{},
	}
	h.tenants.canaries.Command = []string{self, canaryVerb}
	h.clearOut()
	h.strangers()
	if h.life, err = h.door.Life(); err != nil {
		return err
	}
	h.count(true)
	_, err = h.record.Checkpoint() // from here on the record is held against the kernel's count
	if errors.Is(err, record.ErrUnwritable) {
		return nil // a full disk, which refuses every flow: the next checkpoint does it
	}
	return err
}

// closeDoor lets go of the kernel half.
func (h *house) closeDoor() error {
	if h.tenants != nil {
		h.count(false)
	}
	enrolled, err := h.door.Enrolled()
	if err = errors.Join(err, h.door.Close()); err != nil {
		return err
	}
	return h.vacate(enrolled)
}

// vacate takes off the kernel what only this house used: programs that turn nobody's
// connections need not stay for the next one. The record, which is closed later, keeps others out meanwhile.
func (h *house) vacate(enrolled []uint32) error {
	if !h.vacates || len(enrolled) > 0 {
		return nil
	}
	err := bpf.Remove(h.config.PinDir)
	if errors.Is(err, bpf.ErrBusy) {
		return nil // somebody has moved in
	}
	_ = os.Remove(h.config.PinDir) // an empty one that could not be pinned to
	if h.tenants == nil {
		return err
	}
	return errors.Join(err, h.tenants.yard.Sweep())
}

// checkPort refuses a port that the proxy could lose to anybody.
func checkPort(port uint16) error {
	err := enroll.CheckPort(port)
	if errors.Is(err, enroll.ErrEphemeral) {
		return api.Hint(fmt.Errorf("listen: %w", err),
			"set listen.port outside of net.ipv4.ip_local_port_range, or name the port in net.ipv4.ip_local_reserved_ports")
	}
	return err
}

// self is this binary, whatever it is called by now.
const self = "/proc/self/exe"

func (h *house) openDataPath(context.Context) error {
	h.reader = sqlread.Start([]string{self, readerVerb}, sqlread.Limits{})
	h.later(h.reader.Close)
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	authority, err := ca.Open(h.state("ca"), host, time.Now)
	if err != nil {
		return err
	}
	loop, err := interceptor.NewLoop()
	if err != nil {
		return err
	}
	h.later(loop.Close)
	h.meter = metrics.New(metrics.Build{Version: version, Commit: commit, Go: runtime.Version()}, h.sources())
	h.server = &interceptor.Server{
		Origins: h.door, Enrollments: h.tenants.registry, Processes: identity.New(),
		Policy: h.law.policy, Recorder: recorder{h.record}, Asker: asker{h.desk}, Journal: h.record,
		Meter:     meter{h.meter, h.desk},
		Protocols: protocols.List(protocols.Needs{Reader: h.reader, Certificates: authority.Certificate}),
		Dial:      interceptor.Dial, Loop: loop, Canary: h.tenants.canaries.Answer, Log: h.log,
	}
	return nil
}

// openMetrics serves the Prometheus endpoint, where one is wanted.
func (h *house) openMetrics(context.Context) error {
	if h.config.Metrics.Address == "" {
		return nil
	}
	s, err := h.meter.Listen(h.config.Metrics.Address)
	if err != nil {
		return err
	}
	h.doors.Go(func() {
		if err := s.Serve(); err != nil {
			h.log.Error("metrics endpoint lost", "err", err)
		}
	})
	h.later(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return s.Close(ctx)
	})
	return nil
}
