package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/enroll"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// proof is what a canary found.
type proof struct {
	at    time.Time // when one last came through
	err   string    // of the last attempt
	since time.Time // when the first of those failed that did since; zero: the last one came through
}

// told is p after another canary.
func (p proof) told(err error, now time.Time) proof {
	if err == nil {
		return proof{at: now}
	}
	p.err = err.Error()
	if p.since.IsZero() {
		p.since = now
	}
	return p
}

// prove sends a canary out of an enrollment and journals what came of it.
func (h *house) prove(ctx context.Context, e enroll.Enrollment) error {
	families, err := h.tenants.canaries.Send(ctx, filepath.Join(h.tenants.root, e.Cgroup), e.ID)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	there := h.tenants.registry.Stands(e)
	h.tenants.mu.Lock()
	if err != nil && (!there || h.tenants.leaving[e.Cgroup]) {
		h.tenants.mu.Unlock()
		return nil // killed with the cgroup it was sent from
	}
	p := h.tenants.proofs[e.ID].told(err, time.Now())
	if there {
		h.tenants.proofs[e.ID] = p
	}
	if err == nil {
		h.tenants.verified = p.at
	}
	h.tenants.mu.Unlock()
	if err != nil {
		h.log.Error("canary failed: connections of this enrollment are not proved to come here", "identity", e.Identity, "cgroup", e.Cgroup, "err", err)
	}
	return h.record.Log(flow.Event{
		Type: flow.CaptureCanary, Identity: e.Identity,
		Result: map[string]any{"enrollment": e.ID, "cgroup": e.Cgroup, "families": families, "error": p.err},
	})
}

// worstCanary is what status says of all of them: the enrollment that fails for
// longest, if one does. That others are well must not hide it.
func (h *house) worstCanary() api.Canary {
	enrolled := h.tenants.registry.List()
	h.tenants.mu.Lock()
	defer h.tenants.mu.Unlock()
	worst := api.Canary{Verified: h.tenants.verified}
	for _, e := range enrolled {
		p := h.tenants.proofs[e.ID]
		if p.err == "" {
			continue
		}
		worst.Failing++
		if worst.Since.IsZero() || p.since.Before(worst.Since) {
			worst.Error, worst.Since, worst.Cgroup, worst.Identity = p.err, p.since, e.Cgroup, e.Identity
		}
	}
	return worst
}

// failing counts the enrollments of each identity whose last canary failed.
func (h *house) failing() map[string]int {
	enrolled := h.tenants.registry.List()
	h.tenants.mu.Lock()
	defer h.tenants.mu.Unlock()
	count := map[string]int{}
	for _, e := range enrolled {
		count[e.Identity] += 0 // one that is well is shown as well
		if h.tenants.proofs[e.ID].err != "" {
			count[e.Identity]++
		}
	}
	return count
}
