package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/approval"
)

// errHandled is the answer of a verb that has written its own.
var errHandled = errors.New("errHandled")

// handler is every verb the control socket knows, one line each.
func (s *Server) handler() http.Handler {
	h, mux := s.house, http.NewServeMux()
	mux.Handle("GET /v1/status", s.open(get(h.Status)))
	mux.Handle("GET /v1/enrollments", s.open(get(h.Enrollments)))
	mux.Handle("GET /v1/sessions", s.open(get(h.Sessions)))
	mux.Handle("GET /v1/identities", s.open(get(h.Identities)))
	mux.Handle("GET /v1/targets", s.open(get(h.Targets)))
	mux.Handle("GET /v1/grants", s.open(get(h.Grants)))
	mux.Handle("POST /v1/enroll", s.root("enroll", post(h.Enroll, Enroll.valid)))
	mux.Handle("POST /v1/unenroll", s.root("unenroll", post(h.Unenroll, Enroll.valid)))
	mux.Handle("POST /v1/runs", s.root("run", post(h.Begin, Begin.valid)))
	mux.Handle("DELETE /v1/runs/{id}", s.root("release", s.release))
	mux.Handle("POST /v1/kill", s.root("kill", post(h.kill, Kill.valid)))
	mux.Handle("POST /v1/policy/reload", s.root("reload the policy", get(h.Reload)))
	mux.Handle("POST /v1/record/prune", s.root("prune the record", post(h.Prune, Prune.valid)))
	mux.Handle("POST /v1/shutdown", s.root("stop the daemon", get(h.shutdown)))
	mux.Handle("GET /v1/asks", s.open(s.asks))
	mux.Handle("GET /v1/asks/{id}", s.open(s.ask))
	mux.Handle("POST /v1/asks/{id}/decision", s.open(s.decide))
	mux.Handle("GET /v1/watch/asks", s.watching())
	mux.Handle("/", s.open(func(context.Context, *peer, *http.Request) (any, error) {
		return nil, Hint(fmt.Errorf("%w: the control socket knows no such verb", ErrUnsupported), "daemon and command may differ in version")
	}))
	return mux
}

// done is the answer of a verb that has nothing to tell.
type done struct {
	Done bool `json:"done"`
}

// get makes a verb of a function that takes nothing.
func get[A any](f func(context.Context) (A, error)) verb {
	return func(ctx context.Context, _ *peer, _ *http.Request) (any, error) {
		if f == nil {
			return nil, ErrUnsupported
		}
		return f(ctx)
	}
}

// post makes a verb of a function that takes a JSON object, once it is valid.
func post[Q, A any](f func(context.Context, Q) (A, error), valid func(Q) string) verb {
	return func(ctx context.Context, _ *peer, r *http.Request) (any, error) {
		if f == nil {
			return nil, ErrUnsupported
		}
		var q Q
		if err := read(r, &q); err != nil {
			return nil, err
		}
		if wrong := valid(q); wrong != "" {
			return nil, fmt.Errorf("%w: %s", ErrInvalid, wrong)
		}
		return f(ctx, q)
	}
}

// killed says how many sessions were ended.
type killed struct {
	Killed int `json:"killed"`
}

func (h House) kill(ctx context.Context, k Kill) (killed, error) {
	if h.Kill == nil {
		return killed{}, ErrUnsupported
	}
	n, err := h.Kill(ctx, k)
	return killed{n}, err
}

func (h House) shutdown(ctx context.Context) (done, error) {
	if h.Shutdown == nil {
		return done{}, ErrUnsupported
	}
	return done{true}, h.Shutdown(ctx)
}

func (s *Server) release(ctx context.Context, _ *peer, r *http.Request) (any, error) {
	if s.house.Release == nil {
		return nil, ErrUnsupported
	}
	return done{true}, s.house.Release(ctx, r.PathValue("id"))
}

func (s *Server) asks(_ context.Context, _ *peer, r *http.Request) (any, error) {
	if s.house.Desk == nil {
		return nil, ErrUnsupported
	}
	return s.house.Desk.List(r.URL.Query().Get("state")), nil
}

func (s *Server) ask(_ context.Context, _ *peer, r *http.Request) (any, error) {
	if s.house.Desk == nil {
		return nil, ErrUnsupported
	}
	return s.house.Desk.Show(r.PathValue("id"))
}

// decide answers an ask as the person at the other end of the socket.
func (s *Server) decide(_ context.Context, p *peer, r *http.Request) (any, error) {
	if s.house.Desk == nil {
		return nil, ErrUnsupported
	}
	about := aboutOf(r)
	var d Decision
	if err := read(r, &d); err != nil {
		return nil, err
	}
	scope, err := approval.ParseScope(d.Scope)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	id := r.PathValue("id")
	if err := s.house.Desk.Decide(id, d.Approve, p.person(), scope, d.Reason); err != nil {
		s.acted("decide", p, about, err)
		return nil, err
	}
	return s.house.Desk.Show(id)
}

// watching streams asks as lines of JSON: first those that are pending, then each that changes.
func (s *Server) watching() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.open(func(ctx context.Context, _ *peer, _ *http.Request) (any, error) {
			if s.house.Desk == nil {
				return nil, ErrUnsupported
			}
			s.stream(ctx, w)
			return errHandled, nil
		}).ServeHTTP(w, r)
	})
}

// stream ends when the caller leaves, falls behind, or the desk closes.
func (s *Server) stream(ctx context.Context, w http.ResponseWriter) {
	watch := s.house.Desk.Watch()
	defer watch.Stop()
	out := &lines{w: w, control: http.NewResponseController(w)}
	w.Header().Set("Content-Type", "application/x-ndjson")
	if out.write(s.house.Desk.List(approval.Pending)...) != nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case view, more := <-watch.Changes():
			if !more || out.write(view) != nil {
				return
			}
		}
	}
}

// lines writes NDJSON to a caller who must take it in time.
type lines struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (l *lines) write(views ...approval.View) error {
	if err := l.control.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	enc := json.NewEncoder(l.w)
	for _, v := range views {
		if err := enc.Encode(v); err != nil {
			return err
		}
	}
	return l.control.Flush()
}

func (b Begin) valid() string {
	if b.Identity == "" {
		return "which identity? (--identity NAME)"
	}
	return ""
}

func (k Kill) valid() string {
	if (k.Session == "") == (k.Identity == "") {
		return "give a session's id or --identity NAME"
	}
	return ""
}
