package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/chaperone-dev/chaperone/pkg/approval"
	"github.com/chaperone-dev/chaperone/pkg/record"
)

// Status tells how the daemon is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/v1/status", nil)
}

// Asks lists the asks in a state, "" for all.
func (c *Client) Asks(ctx context.Context, state string) ([]approval.View, error) {
	return call[[]approval.View](ctx, c, http.MethodGet, "/v1/asks?state="+url.QueryEscape(state), nil)
}

// Ask shows one ask.
func (c *Client) Ask(ctx context.Context, id string) (approval.View, error) {
	return call[approval.View](ctx, c, http.MethodGet, "/v1/asks/"+url.PathEscape(id), nil)
}

// Decide approves or denies an ask as the user who calls.
func (c *Client) Decide(ctx context.Context, id string, d Decision) (approval.View, error) {
	return call[approval.View](ctx, c, http.MethodPost, "/v1/asks/"+url.PathEscape(id)+"/decision", d)
}

// Enroll binds a cgroup to an identity.
func (c *Client) Enroll(ctx context.Context, e Enroll) (Enrollment, error) {
	return call[Enrollment](ctx, c, http.MethodPost, "/v1/enroll", e)
}

// Unenroll ends an enrollment.
func (c *Client) Unenroll(ctx context.Context, e Enroll) (Enrollment, error) {
	return call[Enrollment](ctx, c, http.MethodPost, "/v1/unenroll", e)
}

// Enrollments lists what is enrolled.
func (c *Client) Enrollments(ctx context.Context) ([]Enrollment, error) {
	return call[[]Enrollment](ctx, c, http.MethodGet, "/v1/enrollments", nil)
}

// Begin gets an enrolled cgroup to run a command in; Release gives it back.
func (c *Client) Begin(ctx context.Context, b Begin) (Run, error) {
	return call[Run](ctx, c, http.MethodPost, "/v1/runs", b)
}

// Release ends a run.
func (c *Client) Release(ctx context.Context, id string) error {
	_, err := call[done](ctx, c, http.MethodDelete, "/v1/runs/"+url.PathEscape(id), nil)
	return err
}

// Sessions lists the live sessions.
func (c *Client) Sessions(ctx context.Context) ([]Session, error) {
	return call[[]Session](ctx, c, http.MethodGet, "/v1/sessions", nil)
}

// Kill ends sessions and says how many.
func (c *Client) Kill(ctx context.Context, k Kill) (int, error) {
	answer, err := call[killed](ctx, c, http.MethodPost, "/v1/kill", k)
	return answer.Killed, err
}

// Reload loads the policy anew and tells what came of it.
func (c *Client) Reload(ctx context.Context) (PolicyStatus, error) {
	return call[PolicyStatus](ctx, c, http.MethodPost, "/v1/policy/reload", nil)
}

// Identities lists the policy's identities.
func (c *Client) Identities(ctx context.Context) ([]Identity, error) {
	return call[[]Identity](ctx, c, http.MethodGet, "/v1/identities", nil)
}

// Targets lists the policy's targets.
func (c *Client) Targets(ctx context.Context) ([]Target, error) {
	return call[[]Target](ctx, c, http.MethodGet, "/v1/targets", nil)
}

// Grants lists the policy's grants.
func (c *Client) Grants(ctx context.Context) ([]Grant, error) {
	return call[[]Grant](ctx, c, http.MethodGet, "/v1/grants", nil)
}

// Prune removes what is old from the record.
func (c *Client) Prune(ctx context.Context, p Prune) (record.Removed, error) {
	patient := *c
	patient.patience = pruneTime
	return call[record.Removed](ctx, &patient, http.MethodPost, "/v1/record/prune", p)
}

// Shutdown makes the daemon drain and end.
func (c *Client) Shutdown(ctx context.Context) error {
	_, err := call[done](ctx, c, http.MethodPost, "/v1/shutdown", nil)
	return err
}
