// Package approval is the desk where held requests are put to people.
//
// An ask is on disk, and in the record, before its client is told that it
// waits; an approval is on disk, and in the record, before the request goes on.
// People come to the desk by the control socket; who they are is the kernel's
// word (SO_PEERCRED), and what they may decide is the policy's.
//
// # Why
//
// One file per ask rather than one log: the record is the log already, and what
// is kept here is only the state of a few hundred asks, each of which must
// survive on its own when its neighbour is torn. A database was turned down: it
// would be the only one in the house. Asks that a dead daemon left
// pending are denied at the next start, because the client that waited for them is gone.
package approval

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// The states of an ask, as in flow.AskState.
const (
	Pending   = "pending"
	Approved  = "approved"
	Denied    = "denied"
	Expired   = "expired"
	Cancelled = "cancelled"
)

// Journal takes the events that enter the host's record; it returns when they cannot be lost any more.
type Journal interface {
	Log(flow.Event) error
}

// People tells who belongs to a group of approvers under the current policy.
type People interface {
	// Members lists the user names of a group; false when no group has that name.
	Members(group string) ([]string, bool)
}

// Limits keep the desk usable: approval fatigue is an attack.
// A zero field takes its value from DefaultLimits.
type Limits struct {
	PendingPerIdentity int           // asks open at a time
	PendingTotal       int           // of all identities
	PerMinute          int           // asks an identity may open in a minute, answered or not
	Timeout            time.Duration // of an ask whose rule names none
	StickyDeny         time.Duration // how long a denial answers the same request again
	LongestScope       time.Duration // of an approval
	Keep               time.Duration // how long resolved asks stay in the listing
	KeepAtMost         int           // how many of them
}

// DefaultLimits are the limits of a desk that was told nothing else.
func DefaultLimits() Limits {
	return Limits{
		PendingPerIdentity: 20, PendingTotal: 500, PerMinute: 60, Timeout: 10 * time.Minute,
		StickyDeny: time.Minute, LongestScope: 24 * time.Hour, Keep: 7 * 24 * time.Hour, KeepAtMost: 2000,
	}
}

// Desk holds the asks of one host.
type Desk struct {
	shelf   shelf
	journal Journal
	people  People
	now     func() time.Time
	limits  Limits

	// transition is held while an ask is opened or resolved, disk and journal
	// included: asks change one at a time. It is taken before mu.
	transition sync.Mutex
	// mu guards what follows; it is never held during I/O.
	mu       sync.Mutex
	asks     map[string]*Ask
	covers   map[string]cover       // by coverKey: answers that stand for the same request
	opened   map[string][]time.Time // by identity: asks of the last minute
	watchers map[*Watcher]struct{}
	tidied   time.Time
}

// Open takes up the desk in dir (made 0700 if absent). Asks that an earlier
// daemon left pending are denied and journalled; a journal that does not
// take them is an error, and the desk stays closed.
func Open(dir string, j Journal, p People, now func() time.Time, l Limits) (*Desk, error) {
	s, err := openShelf(dir)
	if err != nil {
		return nil, fmt.Errorf("open the asks: %w", err)
	}
	d := &Desk{
		shelf: s, journal: j, people: p, now: now, limits: l.filled(),
		asks: map[string]*Ask{}, covers: map[string]cover{}, opened: map[string][]time.Time{}, watchers: map[*Watcher]struct{}{},
	}
	if err := d.takeUp(); err != nil {
		return nil, fmt.Errorf("take up the asks: %w", err)
	}
	return d, nil
}

// takeUp reads what an earlier daemon left.
func (d *Desk) takeUp() error {
	left, err := d.shelf.all()
	if err != nil {
		return err
	}
	for _, f := range left {
		a := d.newAsk(f)
		d.asks[f.ID] = a
		if f.State == Pending {
			if err := d.resolve(a, outcome{state: Denied, reason: "answered by nobody: the daemon restarted"}); err != nil {
				return err
			}
			continue
		}
		close(a.done)
		if f.State == Approved && f.Key != "" && f.Until.After(d.now()) {
			d.covers[f.Key] = cover{ask: a, until: f.Until}
		}
	}
	d.sweep()
	return nil
}

// Close ends the desk in good order: whoever still waits is told that the ask is cancelled.
func (d *Desk) Close() error {
	var errs []error
	for _, a := range d.pending(func(*Ask) bool { return true }) {
		errs = append(errs, d.resolve(a, outcome{state: Cancelled, reason: "the daemon stopped"}))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for w := range d.watchers {
		d.drop(w)
	}
	return errors.Join(errs...)
}

// pending lists the open asks for which which holds; which is called under mu.
func (d *Desk) pending(which func(*Ask) bool) []*Ask {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []*Ask
	for _, a := range d.asks {
		if a.filed.State == Pending && which(a) {
			found = append(found, a)
		}
	}
	return found
}

func (l Limits) filled() Limits {
	d := DefaultLimits()
	fill(&l.PendingPerIdentity, d.PendingPerIdentity)
	fill(&l.PendingTotal, d.PendingTotal)
	fill(&l.PerMinute, d.PerMinute)
	fill(&l.Timeout, d.Timeout)
	fill(&l.StickyDeny, d.StickyDeny)
	fill(&l.LongestScope, d.LongestScope)
	fill(&l.Keep, d.Keep)
	fill(&l.KeepAtMost, d.KeepAtMost)
	return l
}

func fill[T int | time.Duration](at *T, value T) {
	if *at <= 0 {
		*at = value
	}
}
