package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/enroll"
)

// Begin makes an enrolled cgroup for `chaperone run`.
func (h *house) Begin(ctx context.Context, q api.Begin) (api.Run, error) {
	begun, err := h.beginRun()
	if err != nil {
		return api.Run{}, err
	}
	defer begun()
	cgroup, err := h.tenants.yard.Make("run-" + random())
	if err != nil {
		return api.Run{}, err
	}
	source := "run"
	if q.Name != "" {
		source = "run " + q.Name
	}
	e, err := h.admitTenant(ctx, q.Identity, cgroup, source)
	if err != nil {
		return api.Run{}, errors.Join(err, h.tenants.yard.Unmake(cgroup))
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
	if err := h.tenants.yard.Unmake(cgroup); err != nil {
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
		if strings.HasPrefix(e.Source, "run") {
			h.evictIfEmpty(e)
		}
	}
}

// evictEmpty removes cgroups that were made here, for runs or pids, and have been
// ready for some time, once nobody is left in them.
func (h *house) evictEmpty(source string, since time.Duration) {
	for _, e := range h.tenants.registry.List() {
		if strings.HasPrefix(e.Source, source) && time.Since(h.ready(e)) > since {
			h.evictIfEmpty(e)
		}
	}
}

func (h *house) evictIfEmpty(e enroll.Enrollment) {
	if !enroll.Empty(h.tenants.root, e.Cgroup) {
		return
	}
	if err := h.evict(e.Cgroup); err != nil && !errors.Is(err, api.ErrNotFound) { // given back meanwhile
		h.log.Warn("an empty cgroup not removed", "cgroup", e.Cgroup, "err", err)
	}
}

// ready is since when an enrollment can be moved into: a canary that is still out comes first.
func (h *house) ready(e enroll.Enrollment) time.Time {
	h.tenants.mu.Lock()
	defer h.tenants.mu.Unlock()
	if p := h.tenants.proofs[e.ID]; p.at.After(e.Since) {
		return p.at
	}
	return e.Since.Add(settleTime) // enough for the first
}

// random is a short name nobody guesses.
func random() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
