package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/enroll"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// How often enrollments are compared with policy and host, and proved.
const (
	reconcileEvery = 2 * time.Second
	canaryEvery    = time.Minute
)

// tenancy is who lives here: enrollments, and what was proved of each.
type tenancy struct {
	root     string // of cgroup v2
	registry *enroll.Registry
	canaries enroll.Canaries

	mu        sync.Mutex // guards what follows
	proofs    map[uint32]proof
	uncovered map[uint32]int
	leaving   map[string]bool // cgroups that are being emptied
	latest    api.Canary
}

// proof is what a canary found.
type proof struct {
	at  time.Time // when one last came through
	err string    // of the last attempt
}

// prove sends a canary out of an enrollment and journals what came of it.
func (h *house) prove(ctx context.Context, e enroll.Enrollment) error {
	families, err := h.tenants.canaries.Send(ctx, filepath.Join(h.tenants.root, e.Cgroup), e.ID)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_, known := h.tenants.registry.Identity(e.ID)
	h.tenants.mu.Lock()
	if err != nil && (!known || h.tenants.leaving[e.Cgroup]) {
		h.tenants.mu.Unlock()
		return nil // killed with the run it was sent from
	}
	p := h.tenants.proofs[e.ID]
	p.err = ""
	if err != nil {
		p.err = err.Error()
		h.tenants.latest.Error = err.Error()
	} else {
		p.at = time.Now()
		h.tenants.latest = api.Canary{Verified: p.at}
	}
	h.tenants.proofs[e.ID] = p
	h.tenants.mu.Unlock()
	if err != nil {
		h.log.Error("canary failed: connections of this enrollment are not proved to come here", "identity", e.Identity, "cgroup", e.Cgroup, "err", err)
	}
	return h.record.Log(flow.Event{
		Type: flow.CaptureCanary, Identity: e.Identity,
		Result: map[string]any{"enrollment": e.ID, "cgroup": e.Cgroup, "families": families, "error": p.err},
	})
}

// admitTenant enrolls a cgroup, ends what its processes had open before, and proves it.
func (h *house) admitTenant(ctx context.Context, identity, cgroup, source string) (api.Enrollment, error) {
	if _, ok := h.law.policy().Identity(identity); !ok {
		return api.Enrollment{}, api.Hint(fmt.Errorf("identity %q is not in the policy: %w", identity, api.ErrNotFound), "chaperone identities")
	}
	e, err := h.tenants.registry.Add(identity, cgroup, source)
	if err != nil {
		return api.Enrollment{}, classify(err)
	}
	uncovered, err := enroll.Sever(h.tenants.root, e.Cgroup)
	if err != nil {
		h.log.Warn("older connections not looked at", "cgroup", e.Cgroup, "err", err)
	}
	h.tenants.mu.Lock()
	h.tenants.uncovered[e.ID] = uncovered
	h.tenants.mu.Unlock()
	if err := h.record.Log(flow.Event{Type: flow.EnrollmentAdded, Identity: identity,
		Result: map[string]any{"enrollment": e.ID, "cgroup": e.Cgroup, "source": source, "uncovered": uncovered}}); err != nil {
		return api.Enrollment{}, err
	}
	if err := h.prove(ctx, e); err != nil {
		return api.Enrollment{}, err
	}
	return h.tenant(e), nil
}

// classify gives an error of package enroll the exit code it means.
func classify(err error) error {
	switch {
	case errors.Is(err, enroll.ErrNoCgroup), errors.Is(err, enroll.ErrNotEnrolled):
		return fmt.Errorf("%w: %w", api.ErrNotFound, err)
	case errors.Is(err, enroll.ErrOverlap), errors.Is(err, enroll.ErrSelf):
		return fmt.Errorf("%w: %w", api.ErrRefused, err)
	}
	return err
}

// tenant shows an enrollment.
func (h *house) tenant(e enroll.Enrollment) api.Enrollment {
	flows := h.flowsBy(func(f flow.Flow) string { return f.Identity })
	h.tenants.mu.Lock()
	defer h.tenants.mu.Unlock()
	return api.Enrollment{
		ID: e.ID, Identity: e.Identity, Cgroup: e.Cgroup, Source: e.Source, Since: e.Since,
		Verified: h.tenants.proofs[e.ID].at, Flows: flows[e.Identity], Uncovered: h.tenants.uncovered[e.ID],
		Advisory: enroll.Advisory(h.tenants.root, e.Cgroup),
	}
}

func (h *house) enrollments(context.Context) ([]api.Enrollment, error) {
	var list []api.Enrollment
	for _, e := range h.tenants.registry.List() {
		list = append(list, h.tenant(e))
	}
	return list, nil
}

func (h *house) enroll(ctx context.Context, q api.Enroll) (api.Enrollment, error) {
	switch {
	case q.PID != 0:
		return h.enrollPID(ctx, q)
	case q.Container != "":
		return api.Enrollment{}, api.Hint(fmt.Errorf("%w: enrolling by container", api.ErrUnsupported), "give the container's cgroup with --cgroup")
	}
	cgroup, err := h.cgroupOf(q)
	if err != nil {
		return api.Enrollment{}, err
	}
	source := "cgroup"
	if q.Unit != "" {
		source = "unit " + q.Unit
	}
	return h.admitTenant(ctx, q.Identity, cgroup, source)
}

// cgroupOf is the one cgroup a request names.
func (h *house) cgroupOf(q api.Enroll) (string, error) {
	if q.Cgroup != "" {
		return "/" + strings.TrimPrefix(strings.TrimPrefix(q.Cgroup, h.tenants.root), "/"), nil // either way people write it
	}
	found, err := enroll.UnitCgroups(h.tenants.root, q.Unit)
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", api.Hint(fmt.Errorf("unit %s has %d cgroups: %w", q.Unit, len(found), api.ErrNotFound), "is it running? systemctl status "+q.Unit)
	}
	return found[0], nil
}

// enrollPID moves a running process into an enrolled cgroup of its own.
func (h *house) enrollPID(ctx context.Context, q api.Enroll) (api.Enrollment, error) {
	if q.PID == os.Getpid() {
		return api.Enrollment{}, fmt.Errorf("%w: %w", api.ErrRefused, enroll.ErrSelf)
	}
	cgroup, err := enroll.Make(h.tenants.root, "pid-"+strconv.Itoa(q.PID)+"-"+random())
	if err != nil {
		return api.Enrollment{}, err
	}
	if _, err := h.admitTenant(ctx, q.Identity, cgroup, "pid "+strconv.Itoa(q.PID)); err != nil {
		return api.Enrollment{}, errors.Join(err, enroll.Unmake(h.tenants.root, cgroup))
	}
	if err := enroll.Move(h.tenants.root, cgroup, q.PID); err != nil {
		return api.Enrollment{}, errors.Join(fmt.Errorf("%w: %w", api.ErrNotFound, err), h.evict(cgroup))
	}
	return h.admitTenant(ctx, q.Identity, cgroup, "pid "+strconv.Itoa(q.PID)) // again: what the process had open
}

func (h *house) unenroll(_ context.Context, q api.Enroll) (api.Enrollment, error) {
	cgroup, err := h.cgroupOf(q)
	if q.PID != 0 {
		cgroup, err = enroll.CgroupOf(q.PID)
	}
	if err != nil {
		return api.Enrollment{}, fmt.Errorf("%w: %w", api.ErrNotFound, err)
	}
	e, err := h.tenants.registry.Remove(cgroup)
	if err != nil {
		return api.Enrollment{}, classify(err)
	}
	return h.tenant(e), h.parted(e, "asked")
}

// parted journals the end of an enrollment.
func (h *house) parted(e enroll.Enrollment, why string) error {
	return h.record.Log(flow.Event{Type: flow.EnrollmentEnded, Identity: e.Identity,
		Result: map[string]any{"enrollment": e.ID, "cgroup": e.Cgroup, "why": why}})
}

// Begin makes an enrolled cgroup for `chaperone run`.
func (h *house) Begin(ctx context.Context, q api.Begin) (api.Run, error) {
	cgroup, err := enroll.Make(h.tenants.root, "run-"+random())
	if err != nil {
		return api.Run{}, err
	}
	source := "run"
	if q.Name != "" {
		source = "run " + q.Name
	}
	e, err := h.admitTenant(ctx, q.Identity, cgroup, source)
	if err != nil {
		return api.Run{}, errors.Join(err, enroll.Unmake(h.tenants.root, cgroup))
	}
	h.tenants.mu.Lock()
	failed := h.tenants.proofs[e.ID].err
	h.tenants.mu.Unlock()
	if failed != "" {
		return api.Run{}, errors.Join(fmt.Errorf("connections are not proved to come here: %s", failed), h.evict(cgroup))
	}
	return api.Run{ID: filepath.Base(cgroup), Cgroup: cgroup, CgroupPath: filepath.Join(h.tenants.root, cgroup)}, nil
}

// Release ends a run: whatever it left running is killed, never freed.
func (h *house) Release(_ context.Context, id string) error {
	for _, e := range h.tenants.registry.List() {
		if filepath.Base(e.Cgroup) == id && strings.HasPrefix(e.Source, "run") {
			return h.evict(e.Cgroup)
		}
	}
	return fmt.Errorf("run %s: %w", id, api.ErrNotFound)
}

// evict empties and removes a cgroup that was made here, then its enrollment: in
// this order nobody in it is ever free.
func (h *house) evict(cgroup string) error {
	h.tenants.mu.Lock()
	h.tenants.leaving[cgroup] = true
	h.tenants.mu.Unlock()
	defer func() {
		h.tenants.mu.Lock()
		delete(h.tenants.leaving, cgroup)
		h.tenants.mu.Unlock()
	}()
	if err := enroll.Unmake(h.tenants.root, cgroup); err != nil {
		return err
	}
	e, err := h.tenants.registry.Remove(cgroup)
	if err != nil {
		return classify(err)
	}
	return h.parted(e, "released")
}

// strangers warns of enrollments that are pinned and that the registry does not know
// (the state directory was lost): their processes stay refused.
func (h *house) strangers() {
	pinned, err := h.door.Enrolled()
	if err != nil {
		h.log.Error("pinned enrollments not listed", "err", err)
	}
	for _, id := range pinned {
		if _, known := h.tenants.registry.Identity(id); !known {
			h.log.Warn("a pinned enrollment is in no registry: its processes are refused; stop the daemon and run chaperone cleanup to free them", "enrollment", id)
		}
	}
}

// clearOut evicts what a daemon before this one left of runs that are over. It is
// done before anything can begin here: a run whose command is about to start is empty as well.
func (h *house) clearOut() {
	for _, e := range h.tenants.registry.List() {
		if !strings.HasPrefix(e.Source, "run") || !enroll.Empty(h.tenants.root, e.Cgroup) {
			continue
		}
		if err := h.evict(e.Cgroup); err != nil {
			h.log.Warn("an old run's cgroup not removed", "cgroup", e.Cgroup, "err", err)
		}
	}
}

// keepEnrolled makes the enrollments what policy and host say, until ctx ends.
func (h *house) keepEnrolled(ctx context.Context) {
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	proved := time.Time{}
	for {
		h.reconcile(ctx)
		h.recount()
		if time.Since(proved) > canaryEvery {
			proved = time.Now()
			for _, e := range h.tenants.registry.List() {
				_ = h.prove(ctx, e) // told to log, status and metrics
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// reconcile enrolls the cgroups that the policy's selectors name, and lets go of those that are gone.
func (h *house) reconcile(ctx context.Context) {
	gone, err := h.tenants.registry.Sweep()
	if err != nil {
		h.log.Error("dead enrollments not removed", "err", err)
	}
	for _, e := range gone {
		if err := h.parted(e, "the cgroup is gone"); err != nil {
			h.log.Error("end of enrollment not recorded", "err", err)
		}
	}
	for _, identity := range h.law.policy().Identities() {
		if len(identity.Match) > 0 {
			h.enrollMatching(ctx, identity)
		}
	}
}

// enrollMatching enrolls what an identity's selectors match and is not enrolled yet.
func (h *house) enrollMatching(ctx context.Context, identity rules.Identity) {
	found, err := enroll.Find(h.tenants.root, func(cgroup string) bool {
		for _, m := range identity.Match {
			if m.Selects(enroll.UnitOf(cgroup), cgroup) {
				return true
			}
		}
		return false
	})
	if err != nil {
		h.log.Error("cgroups not looked at", "identity", identity.Name, "err", err)
	}
	for _, cgroup := range found {
		if h.tenants.registry.Covers(cgroup) {
			continue
		}
		if _, err := h.admitTenant(ctx, identity.Name, cgroup, "policy"); err != nil {
			h.log.Error("cgroup not enrolled", "identity", identity.Name, "cgroup", cgroup, "err", err)
		}
	}
}

// random is a short name nobody guesses.
func random() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// lastCanary is what status says of all of them.
func (h *house) lastCanary() api.Canary {
	h.tenants.mu.Lock()
	defer h.tenants.mu.Unlock()
	return h.tenants.latest
}
