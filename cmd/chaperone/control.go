package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/approval"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/record"
	"github.com/chaperone-dev/chaperone/rules"
)

// openControl opens the control socket.
func (h *house) openControl(context.Context) error {
	l, err := api.Listen(h.config.ControlSocket)
	if errors.Is(err, api.ErrRunning) {
		return api.Hint(err, "stop it, or name another with --control-socket")
	}
	if err != nil {
		return err
	}
	h.control = api.NewServer(api.House{
		Enrolled: h.covered, Desk: h.desk, Log: h.log,
		Status: h.status, Enrollments: h.enrollments, Enroll: h.enroll, Unenroll: h.unenroll,
		Begin: h.Begin, Release: h.Release,
		Sessions: h.sessions, Kill: h.kill, Reload: h.reload,
		Identities: h.identities, Targets: h.targets, Grants: h.grants,
		Shutdown: func(context.Context) error { h.shutdown(); return nil },
		Prune:    func(_ context.Context, p api.Prune) (record.Removed, error) { return h.record.Prune(p.Before) },
		Acted:    h.acted,
	})
	h.doors.Go(func() {
		if err := h.control.Serve(l); err != nil && h.closing.Err() == nil {
			h.log.Error("control socket lost", "err", err)
		}
	})
	h.later(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return h.control.Close(ctx)
	})
	return nil
}

// covered says whether a cgroup is enrolled, as the registry or the kernel has it: a stranger's processes
// have no business at the control socket either. Doubt is yes.
func (h *house) covered(cgroup string) bool {
	if h.tenants.registry.Covers(cgroup) {
		return true
	}
	covered, err := h.door.Covers(filepath.Join(h.tenants.root, cgroup))
	if err != nil {
		h.log.Warn("a cgroup taken for enrolled, since the kernel does not tell", "cgroup", cgroup, "err", err)
	}
	return covered || err != nil
}

// acted journals what an administrator did, and to what.
func (h *house) acted(act, by string, about api.About, err error) {
	ev := flow.Event{
		Type: flow.AdminAct, Identity: about.Identity, Session: about.Session,
		Result: map[string]any{"act": act, "by": by, "about": about},
	}
	if err != nil {
		ev.Result["refused"] = err.Error()
	}
	if err := h.record.Log(ev); err != nil {
		h.log.Error("administrative act not recorded", "act", act, "err", err)
	}
}

func (h *house) status(ctx context.Context) (api.Status, error) {
	host, _ := os.Hostname() // only for show
	enrollments, err := h.enrollments(ctx)
	if err != nil {
		return api.Status{}, err
	}
	if enrollments == nil {
		enrollments = []api.Enrollment{} // a list to who reads it as JSON
	}
	recorder := api.RecorderStatus{Path: h.state("record"), Seq: h.record.Mark().Seq, Bytes: h.record.Used()}
	if err := h.record.Err(); err != nil {
		recorder.Error = err.Error()
	}
	return api.Status{
		Version: version, Host: host, PID: os.Getpid(), Started: h.started, Draining: h.closing.Err() != nil,
		Policy: h.policyStatus(), Canary: h.worstCanary(),
		Recorder:    recorder,
		Enrollments: enrollments, Flows: len(h.server.Flows()), Asks: h.desk.Counts()[approval.Pending],
		Notes: slices.Concat(h.leftOut(), h.shortcomings()),
	}, nil
}

// leftOut tells what the policy wants enrolled and is not.
func (h *house) leftOut() []string {
	h.tenants.mu.Lock()
	defer h.tenants.mu.Unlock()
	return h.tenants.left
}

func (h *house) policyStatus() api.PolicyStatus {
	generation, loaded, err := h.law.standing()
	s := api.PolicyStatus{Source: h.config.Policy, Generation: generation, Loaded: loaded}
	if err != nil {
		s.Error = err.Error()
	}
	return s
}

func (h *house) reload(ctx context.Context) (api.PolicyStatus, error) {
	if err := h.law.reload(ctx); err != nil {
		return h.policyStatus(), api.Hint(fmt.Errorf("the policy in force stays: %w", err), "chaperone policy check "+h.config.Policy)
	}
	return h.policyStatus(), nil
}

func (h *house) sessions(context.Context) ([]api.Session, error) {
	var list []api.Session
	for _, f := range h.server.Flows() {
		list = append(list, api.Session{ID: f.ID, Flow: f})
	}
	return list, nil
}

func (h *house) kill(_ context.Context, k api.Kill) (int, error) {
	n := h.server.Kill(func(f flow.Flow) bool {
		return k.Session != "" && f.ID == k.Session || k.Identity != "" && f.Identity == k.Identity
	})
	if n == 0 && k.Identity != "" {
		return 0, h.known(k.Identity)
	}
	return n, nil
}

// known says that the policy has no such identity, and which may have been meant.
func (h *house) known(identity string) error {
	var names []string
	for _, i := range h.law.policy().Identities() {
		if i.Name == identity {
			return nil
		}
		names = append(names, i.Name)
	}
	return nobody("identity", identity, names)
}

func (h *house) identities(context.Context) ([]api.Identity, error) {
	var list []api.Identity
	flows := h.flowsBy(func(f flow.Flow) string { return f.Identity })
	for _, i := range h.law.policy().Identities() {
		a := api.Identity{Identity: i.Identity, Expired: i.Expired(time.Now()), Flows: flows[i.Name]}
		for _, e := range h.tenants.registry.List() {
			if e.Identity == i.Name {
				a.Enrollments = append(a.Enrollments, e.Cgroup)
			}
		}
		list = append(list, a)
	}
	return list, nil
}

func (h *house) flowsBy(key func(flow.Flow) string) map[string]int {
	count := map[string]int{}
	for _, f := range h.server.Flows() {
		count[key(f)]++
	}
	return count
}

func (h *house) targets(context.Context) ([]api.Target, error) {
	var list []api.Target
	for _, t := range h.law.policy().Targets() {
		a := api.Target{Name: t.Name, Protocol: t.Protocol, Record: t.Record.String(), TLS: t.TLS.Upstream}
		for _, address := range t.Addresses {
			a.Addresses = append(a.Addresses, address.String())
		}
		list = append(list, a)
	}
	return list, nil
}

func (h *house) grants(context.Context) ([]api.Grant, error) {
	var list []api.Grant
	p := h.law.policy()
	for _, i := range p.Identities() {
		for _, t := range p.Targets() {
			g, err := p.Grant(i.Name, t.Name, time.Now())
			if err == nil {
				list = append(list, grantOf(g))
			}
		}
	}
	return list, nil
}

// grantOf shows a grant as a flow that opened now would get it.
func grantOf(g rules.Grant) api.Grant {
	shown := api.Grant{Identity: g.Identity, Target: g.Target, Approval: "none"}
	if !g.Until.IsZero() {
		shown.TTL = flow.Span(time.Until(g.Until).Round(time.Second))
	}
	return shown
}
