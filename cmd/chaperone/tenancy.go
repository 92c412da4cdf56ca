package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/enroll"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// tenancy is who lives here: enrollments, and what was proved of each.
type tenancy struct {
	root     string // of cgroup v2
	yard     enroll.Yard
	registry *enroll.Registry
	canaries enroll.Canaries

	mu        sync.Mutex // guards what follows
	proofs    map[uint32]proof
	uncovered map[uint32]int
	leaving   map[string]bool // cgroups that are being emptied
	untold    []flow.Event    // what the record had no room for, of enrollments
	left      []string        // sentences on cgroups that the policy selects and that are not enrolled
	beginning int             // runs that are given a place right now
	ending    bool            // the last run is over, and with it this daemon
	verified  time.Time       // when a canary last came through, from wherever
}

// admitTenant enrolls a cgroup, ends what its processes had open before, and proves it.
// One that was enrolled for the identity already is only proved: what it has open is covered.
func (h *house) admitTenant(ctx context.Context, identity, cgroup, source string) (api.Enrollment, error) {
	if _, ok := h.law.policy().Identity(identity); !ok {
		return api.Enrollment{}, api.Hint(fmt.Errorf("identity %q is not in the policy: %w", identity, api.ErrNotFound), "chaperone identities")
	}
	h.letGo() // one that had this name is not in the way
	asked := time.Now()
	e, err := h.tenants.registry.Add(identity, cgroup, source)
	if err != nil {
		return api.Enrollment{}, classify(err)
	}
	if !e.Since.Before(asked) {
		if err := h.sever(e); err != nil {
			return api.Enrollment{}, err
		}
	}
	if err := h.prove(ctx, e); err != nil {
		return api.Enrollment{}, err
	}
	return h.tenant(e), nil
}

// sever ends what the processes of a new enrollment had open before it, and journals the enrollment.
func (h *house) sever(e enroll.Enrollment) error {
	uncovered, err := enroll.Sever(h.tenants.root, e.Cgroup)
	if err != nil {
		h.log.Warn("older connections not looked at", "cgroup", e.Cgroup, "err", err)
	}
	h.tenants.mu.Lock()
	h.tenants.uncovered[e.ID] = uncovered
	h.tenants.mu.Unlock()
	err = h.journal(flow.Event{Type: flow.EnrollmentAdded, Identity: e.Identity,
		Result: map[string]any{"enrollment": e.ID, "cgroup": e.Cgroup, "source": e.Source, "uncovered": uncovered}})
	if err != nil {
		return api.Hint(fmt.Errorf("the enrollment of %s is not recorded: %w", e.Cgroup, err), "make room where the record is: chaperone record prune --older-than 2160h")
	}
	return nil
}

// maxUntold bounds the events that wait for room: beyond them only the error tells.
const maxUntold = 4096

// journal records what became of an enrollment. What the record has no room for is told when
// it has: what is enrolled stays so, since a full disk must free nobody.
func (h *house) journal(ev flow.Event) error {
	h.tell()
	err := h.record.Log(ev)
	if err != nil {
		h.tenants.mu.Lock()
		if len(h.tenants.untold) < maxUntold {
			h.tenants.untold = append(h.tenants.untold, ev)
		}
		h.tenants.mu.Unlock()
	}
	return err
}

// tell records what could not be when it was so, in its order.
func (h *house) tell() {
	h.tenants.mu.Lock()
	defer h.tenants.mu.Unlock()
	for len(h.tenants.untold) > 0 && h.record.Log(h.tenants.untold[0]) == nil {
		h.tenants.untold = h.tenants.untold[1:]
	}
}

// classify gives an error of package enroll the exit code it means.
func classify(err error) error {
	switch {
	case errors.Is(err, enroll.ErrNoCgroup), errors.Is(err, enroll.ErrNotEnrolled):
		return fmt.Errorf("%w: %w", api.ErrNotFound, err)
	case errors.Is(err, enroll.ErrOverlap), errors.Is(err, enroll.ErrSelf), errors.Is(err, enroll.ErrAncestor), errors.Is(err, enroll.ErrKernel):
		return fmt.Errorf("%w: %w", api.ErrRefused, err)
	case errors.Is(err, enroll.ErrLeaderless):
		return api.Hint(fmt.Errorf("%w: %w", api.ErrRefused, err), "restart it, or enroll the cgroup it was started in")
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", api.ErrNotFound, err)
	}
	return err
}

// tenant shows an enrollment.
func (h *house) tenant(e enroll.Enrollment) api.Enrollment {
	flows := h.flowsBy(func(f flow.Flow) string { return f.Identity })
	h.tenants.mu.Lock()
	defer h.tenants.mu.Unlock()
	p := h.tenants.proofs[e.ID]
	return api.Enrollment{
		ID: e.ID, Identity: e.Identity, Cgroup: e.Cgroup, Source: e.Source, Since: e.Since,
		Verified: p.at, Error: p.err, ErrorSince: p.since, Flows: flows[e.Identity], Uncovered: h.tenants.uncovered[e.ID],
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
	if q.PID != 0 {
		return h.enrollPID(ctx, q)
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
	switch {
	case q.Container != "":
		return "", api.Hint(fmt.Errorf("%w: enrolling by container", api.ErrUnsupported), "give the container's cgroup with --cgroup")
	case q.PID != 0:
		cgroup, err := enroll.CgroupOf(q.PID)
		if err != nil {
			return "", fmt.Errorf("%w: %w", api.ErrNotFound, err)
		}
		return cgroup, nil
	case q.Cgroup != "":
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
	if err := enroll.Movable(q.PID); err != nil {
		return api.Enrollment{}, classify(err)
	}
	cgroup, err := h.tenants.yard.Make("pid-" + strconv.Itoa(q.PID) + "-" + random())
	if err != nil {
		return api.Enrollment{}, err
	}
	source := "pid " + strconv.Itoa(q.PID)
	if _, err := h.admitTenant(ctx, q.Identity, cgroup, source); err != nil {
		return api.Enrollment{}, errors.Join(err, h.tenants.yard.Unmake(cgroup))
	}
	if err := enroll.Move(h.tenants.root, cgroup, q.PID); err != nil {
		return api.Enrollment{}, errors.Join(fmt.Errorf("%w: %w", api.ErrNotFound, err), h.evict(cgroup))
	}
	e, err := h.tenants.registry.Add(q.Identity, cgroup, source) // the same
	if err != nil {
		return api.Enrollment{}, classify(err)
	}
	if err := h.sever(e); err != nil { // again: what the process had open
		return api.Enrollment{}, err
	}
	return h.tenant(e), nil
}

func (h *house) unenroll(_ context.Context, q api.Enroll) (api.Enrollment, error) {
	cgroup, err := h.cgroupOf(q)
	if err != nil {
		return api.Enrollment{}, err
	}
	e, err := h.tenants.registry.RemoveIf(cgroup, func(e enroll.Enrollment) error {
		if q.Identity != api.Anybody {
			if err := enroll.Of(q.Identity)(e); err != nil {
				return err
			}
		}
		if e.Identity == h.selected(e.Cgroup) {
			return api.Hint(fmt.Errorf("%w: the policy selects it for %s, and would enroll it again", api.ErrRefused, e.Identity), "take it out of what the identity's match selects")
		}
		return nil
	})
	if others, ok := errors.AsType[enroll.OthersError](err); ok {
		return api.Enrollment{}, api.Hint(fmt.Errorf("unenroll %s for %s: %w: %w", cgroup, q.Identity, others, api.ErrNotFound), "name that identity, or none")
	}
	if err != nil {
		return api.Enrollment{}, classify(err)
	}
	return h.tenant(e), h.parted(e, "asked")
}

// parted journals the end of an enrollment.
func (h *house) parted(e enroll.Enrollment, why string) error {
	h.tenants.mu.Lock()
	delete(h.tenants.proofs, e.ID)
	delete(h.tenants.uncovered, e.ID)
	h.tenants.mu.Unlock()
	return h.journal(flow.Event{Type: flow.EnrollmentEnded, Identity: e.Identity,
		Result: map[string]any{"enrollment": e.ID, "cgroup": e.Cgroup, "why": why}})
}
