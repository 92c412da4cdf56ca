package approval

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Why a decision was not taken. The caller tells them apart: unknown is exit
// code 4, not-an-approver and own-request are 3.
var (
	ErrUnknown     = errors.New("no such ask")
	ErrResolved    = errors.New("the ask is resolved already")
	ErrNotApprover = errors.New("not an approver of this ask")
	ErrOwnRequest  = errors.New("whoever asks does not approve: the held process runs as the same user")
	ErrScope       = errors.New("the scope is longer than an approval may last")
	ErrNotRecorded = errors.New("the decision could not be recorded, so it does not count")
)

// Person is someone who came to the desk, as the kernel names them.
type Person struct {
	UID  uint32
	Name string // from the user database; empty when it has none for UID
}

// String is how the record names a decider. Root acts as the host's
// administrator, and the record says so.
func (p Person) String() string {
	switch {
	case p.UID == 0:
		return "root (administrator)"
	case p.Name == "":
		return "uid " + strconv.FormatUint(uint64(p.UID), 10)
	}
	return p.Name
}

// answered says how an ask was resolved that somebody comes too late for.
func answered(s flow.AskState) error {
	how := s.State
	if s.By != "" {
		how += " by " + s.By
	}
	if !s.Resolved.IsZero() {
		how += " at " + s.Resolved.Local().Format(time.DateTime)
	}
	return fmt.Errorf("%w: %s", ErrResolved, how)
}

// outcome is how an ask is resolved.
type outcome struct {
	state  string
	by     string
	reason string
	scope  Scope
}

// reasonLimit bounds a reason, in bytes: it is shown to the client.
const reasonLimit = 512

// Decide approves or denies the ask id. A denial takes effect even when it
// cannot be recorded (the error says so); an approval does not.
// The same answer settles the pending asks it covers: a denial all that are alike, an approval those in its scope.
func (d *Desk) Decide(id string, approve bool, by Person, scope Scope, reason string) error {
	a, err := d.find(id)
	if err != nil {
		return err
	}
	if err := d.mayDecide(a, by); err != nil {
		return err
	}
	if state := a.state(); state.State != Pending {
		return answered(state)
	}
	if scope.For > d.limits.LongestScope {
		return fmt.Errorf("%w (%s)", ErrScope, d.limits.LongestScope)
	}
	o := outcome{state: Denied, by: by.String(), reason: tidy(reason)}
	if approve {
		o.state, o.scope = Approved, scope
	}
	if !d.now().Before(a.expires) {
		d.end(a, outcome{state: Expired, reason: "nobody answered in time"})
		return answered(a.state())
	}
	err = d.resolve(a, o)
	if errors.Is(err, ErrResolved) {
		return answered(a.state())
	}
	if err != nil {
		return err
	}
	d.settleAlike(a, o)
	return nil
}

// mayDecide says whether by may decide a: an approver the rule names, or root, and never whoever asks.
func (d *Desk) mayDecide(a *Ask, by Person) error {
	v := d.view(a)
	if by.UID == 0 {
		return nil
	}
	if v.Process == nil || v.Process.UID == by.UID {
		return ErrOwnRequest
	}
	if by.Name == "" {
		return ErrNotApprover
	}
	for _, name := range v.Approvers {
		members, group := d.people.Members(name)
		if group && slices.Contains(members, by.Name) || !group && name == by.Name {
			return nil
		}
	}
	return ErrNotApprover
}

// resolve moves a from pending to its outcome: disk, journal, then whoever waits.
func (d *Desk) resolve(a *Ask, o outcome) error {
	d.transition.Lock()
	defer d.transition.Unlock()
	d.mu.Lock()
	next := a.filed
	d.mu.Unlock()
	if next.State != Pending {
		return ErrResolved
	}
	next.View = next.shortened() // the record has the whole of it
	next.State, next.By, next.Reason, next.Resolved = o.state, o.by, o.reason, d.now()
	if o.state == Approved {
		next.Scope = o.scope.String()
		next.Until = o.scope.until(next.Resolved)
	}
	err := d.write(next)
	if err != nil && o.state == Approved {
		return fmt.Errorf("%w: %w", ErrNotRecorded, errors.Join(err, d.takeBack(a)))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	a.filed = next
	d.remember(a, o)
	close(a.done)
	d.announce(a)
	return err
}

// takeBack makes sure that an approval which does not count is not found on
// disk by the next daemon.
func (d *Desk) takeBack(a *Ask) error {
	if err := d.shelf.put(a.filed); err != nil {
		return errors.Join(err, d.shelf.remove(a.id))
	}
	return nil
}

// write makes a resolution durable.
func (d *Desk) write(next filed) error {
	if err := d.shelf.put(next); err != nil {
		return err
	}
	return d.journal.Log(next.event(flow.AskResolved))
}

// settleAlike gives the answer to a to the pending asks it covers.
func (d *Desk) settleAlike(a *Ask, o outcome) {
	if o.state == Approved && !o.scope.Session && o.scope.For == 0 {
		return // once is once
	}
	same := d.pending(func(other *Ask) bool {
		alike := a.filed.Key != "" && other.filed.Key == a.filed.Key
		return alike && (o.state == Denied || !o.scope.Session || other.filed.Flow == a.filed.Flow)
	})
	for _, other := range same {
		d.end(other, o)
	}
}

// complain says that an ask opened or ended without its record, where nobody at
// the desk can be told: the one place where this package logs.
func (d *Desk) complain(a *Ask, err error) {
	slog.Error("an ask is not recorded", "ask", a.id, "err", err)
}

// tidy makes a reason fit to be shown: one line, bounded, nothing that steers a terminal.
func tidy(reason string) string {
	clean := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(reason, "?"))
	clean = strings.Join(strings.Fields(clean), " ")
	if len(clean) > reasonLimit {
		clean = strings.ToValidUTF8(clean[:reasonLimit], "")
	}
	return clean
}
