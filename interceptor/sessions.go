package interceptor

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"sync"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// sessions are the live ones. mu guards byID.
type sessions struct {
	mu   sync.Mutex
	byID map[string]liveSession
}

type liveSession struct {
	flow flow.Flow
	end  context.CancelCauseFunc
}

func (l *sessions) add(s *Session, end context.CancelCauseFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byID == nil {
		l.byID = map[string]liveSession{}
	}
	l.byID[s.ID] = liveSession{flow: *s.Flow, end: end}
}

func (l *sessions) remove(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.byID, s.ID)
}

// Flows lists the flows being served.
func (s *Server) Flows() []flow.Flow {
	s.live.mu.Lock()
	defer s.live.mu.Unlock()
	flows := make([]flow.Flow, 0, len(s.live.byID))
	for _, l := range s.live.byID {
		flows = append(flows, l.flow)
	}
	return flows
}

// Kill ends the sessions that which picks, and says how many.
func (s *Server) Kill(which func(flow.Flow) bool) int {
	s.live.mu.Lock()
	defer s.live.mu.Unlock()
	killed := 0
	for _, l := range s.live.byID {
		if which(l.flow) {
			l.end(errKilled)
			killed++
		}
	}
	return killed
}

// newID makes an id that sorts by time: 48 bits of milliseconds and 80 random
// ones, in lower-case base32.
func newID() string {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], uint64(time.Now().UnixMilli())<<16)
	_, _ = rand.Read(id[6:]) // never fails (crypto/rand)
	return strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(id[:]))
}
