// Package api is the control socket: how people and verbs speak to the daemon.
//
// HTTP and JSON over a unix socket. Who speaks is the kernel's word
// (SO_PEERCRED); a process that is enrolled, or descends from one that is, gets
// no answer whatever its user id, since a subagent must never decide its own
// requests. Reading needs only access to the socket, deciding an ask needs an
// approver, and everything that changes the daemon needs root.
//
// # Why
//
// net/http over a socket file can be spoken by curl when all else fails, and
// needs no generated code; gRPC was turned down for its weight.
// Tokens were turned down as well: they can be stolen by whoever reads files, a
// peer credential can not.
package api

import (
	"context"
	"log/slog"

	"github.com/chaperone-dev/chaperone/pkg/approval"
	"github.com/chaperone-dev/chaperone/pkg/record"
)

// House is what the daemon lets the control socket reach. A nil function is a
// verb this daemon does not have: it is answered with ErrUnsupported.
type House struct {
	// Enrolled says whether a cgroup, by its path below the cgroup v2 mount, is
	// enrolled or inside one that is. It must not be nil.
	Enrolled func(cgroup string) bool
	Desk     Desk
	Log      *slog.Logger // never nil

	Status      func(context.Context) (Status, error)
	Enroll      func(context.Context, Enroll) (Enrollment, error)
	Unenroll    func(context.Context, Enroll) (Enrollment, error)
	Enrollments func(context.Context) ([]Enrollment, error)
	// Begin makes a cgroup enrolled for an identity, for `chaperone run` to start its command in; Release ends it.
	Begin    func(context.Context, Begin) (Run, error)
	Release  func(ctx context.Context, id string) error
	Sessions func(context.Context) ([]Session, error)
	// Kill ends one live session, or all of an identity, and says how many there were.
	Kill       func(context.Context, Kill) (int, error)
	Reload     func(context.Context) (PolicyStatus, error)
	Identities func(context.Context) ([]Identity, error)
	Targets    func(context.Context) ([]Target, error)
	Grants     func(context.Context) ([]Grant, error)
	// Prune removes old sessions from the record, and tells what it removed.
	Prune func(context.Context, Prune) (record.Removed, error)
	// Shutdown begins the drain and returns; the daemon ends afterwards.
	Shutdown func(context.Context) error
	// Acted journals an administrative act that was carried out (or refused: err).
	Acted func(act, by string, about About, err error)
}

// Desk is where asks are decided: *approval.Desk.
type Desk interface {
	List(state string) []approval.View
	Show(id string) (approval.View, error)
	Decide(id string, approve bool, by approval.Person, s approval.Scope, reason string) error
	Watch() *approval.Watcher
}
