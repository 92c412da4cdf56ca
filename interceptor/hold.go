package interceptor

import (
	"context"
	"sync"
)

// holdCancel lets another connection (a PostgreSQL CancelRequest) end the hold
// this session waits in. mu guards cancel.
type holdCancel struct {
	mu     sync.Mutex
	cancel context.CancelFunc // nil when nothing is held
}

func (h *holdCancel) set(cancel context.CancelFunc) {
	h.mu.Lock()
	h.cancel = cancel
	h.mu.Unlock()
}

// CancelHold ends the session's hold, if one waits; it says whether one did.
func (s *Session) CancelHold() bool {
	s.cancel.mu.Lock()
	defer s.cancel.mu.Unlock()
	if s.cancel.cancel == nil {
		return false
	}
	s.cancel.cancel()
	return true
}
