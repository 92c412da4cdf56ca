package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/enroll"
	"github.com/chaperone-dev/chaperone/rules"
)

// How often enrollments are compared with policy and host, and proved.
const (
	reconcileEvery = 2 * time.Second
	canaryEvery    = time.Minute
	settleTime     = 10 * time.Second // in which a process starts in, or is moved into, a cgroup that was made for it
)

// keepEnrolled makes the enrollments what policy and host say, until ctx ends.
func (h *house) keepEnrolled(ctx context.Context) {
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	proved := time.Time{}
	for {
		h.reconcile(ctx)
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

// letGo ends the enrollments whose cgroups are gone.
func (h *house) letGo() {
	gone, err := h.tenants.registry.Sweep()
	if err != nil && !errors.Is(err, enroll.ErrNotEnrolled) { // let go by somebody else meanwhile
		h.log.Error("dead enrollments not removed", "err", err)
	}
	for _, e := range gone {
		if err := h.parted(e, "the cgroup is gone"); err != nil {
			h.log.Error("end of enrollment not recorded", "err", err)
		}
	}
}

// reconcile enrolls the cgroups that the policy's selectors name, and lets go of those that are gone.
func (h *house) reconcile(ctx context.Context) {
	h.tell()
	h.letGo()
	h.evictEmpty("pid ", settleTime)
	h.evictEmpty("run", settleTime)                                                     // of a `chaperone run` that was killed
	if err := h.tenants.yard.Clear(h.tenants.registry.Covers, settleTime); err != nil { // of a pid that was unenrolled
		h.log.Error("cgroups not removed", "err", err)
	}
	var left []string
	for _, identity := range h.law.policy().Identities() {
		if len(identity.Match) > 0 {
			left = append(left, h.enrollMatching(ctx, identity)...)
		}
	}
	h.tenants.mu.Lock()
	before := h.tenants.left
	h.tenants.left = left
	h.tenants.mu.Unlock()
	for _, sentence := range left {
		if !slices.Contains(before, sentence) { // said once, and by status as long as it is so
			h.log.Error(sentence)
		}
	}
}

// enrollMatching enrolls what an identity's selectors match and is not enrolled yet. It returns
// a sentence on each cgroup that could not be.
func (h *house) enrollMatching(ctx context.Context, identity rules.Identity) (left []string) {
	found, err := enroll.Find(h.tenants.root, func(cgroup string) bool { return selects(identity, cgroup) })
	if err != nil {
		left = append(left, fmt.Sprintf("cgroups not looked at for %s: %v", identity.Name, err))
	}
	for _, cgroup := range found {
		if h.tenants.registry.Covers(cgroup) {
			continue
		}
		if _, err := h.admitTenant(ctx, identity.Name, cgroup, "policy"); err != nil {
			left = append(left, fmt.Sprintf("the policy selects %s for %s, and it is not enrolled: %v", cgroup, identity.Name, err))
		}
	}
	return left
}

func selects(identity rules.Identity, cgroup string) bool {
	for _, m := range identity.Match {
		if m.Selects(enroll.UnitOf(cgroup), cgroup) {
			return true
		}
	}
	return false
}

// selected is the identity that the policy enrolls a cgroup for, "" when it does not.
func (h *house) selected(cgroup string) string {
	for _, identity := range h.law.policy().Identities() {
		if selects(identity, cgroup) {
			return identity.Name
		}
	}
	return ""
}
