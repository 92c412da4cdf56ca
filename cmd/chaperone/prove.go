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
	at  time.Time // when one last came through
	err string    // of the last attempt
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

// lastCanary is what status says of all of them.
func (h *house) lastCanary() api.Canary {
	h.tenants.mu.Lock()
	defer h.tenants.mu.Unlock()
	return h.tenants.latest
}
