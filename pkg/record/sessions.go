package record

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// State is how far a session is.
type State string

// The states of a session.
const (
	StateOpen      State = "open"
	StateEnded     State = "ended"
	StateRecovered State = "recovered" // its end was found after a crash
)

// Session is one session as the log tells it.
type Session struct {
	ID       string    `json:"session"`
	Identity string    `json:"identity"`
	Target   string    `json:"target,omitempty"`
	Protocol string    `json:"protocol,omitempty"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end,omitzero"`
	State    State     `json:"state"`
	Outcome  string    `json:"outcome,omitempty"`
	Requests uint64    `json:"requests"`
	Size     int64     `json:"size"` // bytes of tape
	Digest   string    `json:"digest,omitempty"`
	Pruned   bool      `json:"pruned,omitempty"` // the tape was removed by Prune

	Flow *flow.Flow `json:"flow,omitempty"`
	tape string     // path below the record's directory
}

// told is what the log's events say of sessions.
type told struct {
	Type    string     `json:"type"`
	Time    time.Time  `json:"time"`
	Session string     `json:"session"`
	Flow    *flow.Flow `json:"flow"`
	Result  struct {
		Tape      string `json:"tape"`
		Outcome   string `json:"outcome"`
		Digest    string `json:"digest"`
		Size      int64  `json:"size"`
		Requests  uint64 `json:"requests"`
		Lost      string `json:"lost"`
		Truncated bool   `json:"truncated"`
	} `json:"result"`
}

// tell takes one event into account.
func (s *Session) tell(t told) {
	switch t.Type {
	case flow.SessionStarted:
		s.ID, s.Start, s.Flow, s.State, s.tape = t.Session, t.Time, t.Flow, StateOpen, t.Result.Tape
		if t.Flow != nil {
			s.Identity, s.Target, s.Protocol = t.Flow.Identity, t.Flow.Target, t.Flow.Protocol
		}
	case flow.SessionEnded:
		s.ID, s.End, s.State, s.Outcome = t.Session, t.Time, StateEnded, t.Result.Outcome
		s.Requests, s.Size, s.Digest = t.Result.Requests, t.Result.Size, t.Result.Digest
		s.tape = cmp.Or(s.tape, t.Result.Tape)
		if t.Result.Outcome == outcomeRecovered {
			s.State = StateRecovered
		}
	}
}

// Sessions lists the sessions of the record, oldest first. Damaged places of
// the log are passed over; they come back as the error, joined, beside the list.
func (r *Reader) Sessions() ([]Session, error) {
	byID := map[string]*Session{}
	var damage error
	at := cursor{}
	r.raw(at, "", func(payload []byte, err error) bool {
		if err != nil {
			damage = errors.Join(damage, err)
			return true
		}
		if isType(payload, "session.") {
			learn(byID, payload)
		}
		if isType(payload, Pruned) {
			for _, tape := range prunedOf(payload).Tapes {
				if s := byID[sessionOf(tape)]; s != nil {
					s.Pruned = true
				}
			}
		}
		return true
	})
	list := make([]Session, 0, len(byID))
	for _, s := range slices.SortedFunc(maps.Values(byID), func(a, b *Session) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.ID, b.ID))
	}) {
		r.measure(s)
		list = append(list, *s)
	}
	return list, damage
}

func learn(byID map[string]*Session, payload []byte) {
	var t told
	if json.Unmarshal(payload, &t) != nil || t.Session == "" || t.Type != flow.SessionStarted && t.Type != flow.SessionEnded {
		return
	}
	s := byID[t.Session]
	if s == nil {
		s = &Session{}
		byID[t.Session] = s
	}
	s.tell(t)
}

// measure gives an open session the size its tape has on disk, allocated space included.
func (r *Reader) measure(s *Session) {
	if s.State != StateOpen || s.tape == "" {
		return
	}
	if info, err := os.Lstat(filepath.Join(r.dir, s.tape)); err == nil {
		s.Size = info.Size()
	}
}

// Session finds one session. The error is ErrNotFound where there is none.
func (r *Reader) Session(id string) (Session, error) {
	list, damage := r.Sessions()
	for _, s := range list {
		if s.ID == id {
			return s, nil
		}
	}
	return Session{}, errors.Join(fmt.Errorf("session of %d letters: %w", len(id), ErrNotFound), damage)
}

// Tape opens a session's tape. The caller closes it.
func (r *Reader) Tape(s Session) (*TapeReader, error) {
	if !filepath.IsLocal(s.tape) {
		return nil, fmt.Errorf("tape of session %s: %w", s.ID, ErrNotFound)
	}
	f, err := openRegular(filepath.Join(r.dir, s.tape), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("tape of session %s: %w", s.ID, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open tape: %w", err)
	}
	t, err := newTapeReader(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}
