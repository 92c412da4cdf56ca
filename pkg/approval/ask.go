package approval

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// Ask is one held request put to people.
type Ask struct {
	desk    *Desk
	id      string
	expires time.Time
	done    chan struct{} // closed once filed.State is no longer pending
	filed   filed         // guarded by desk.mu; changed only under desk.transition
}

func (d *Desk) newAsk(f filed) *Ask {
	return &Ask{desk: d, id: f.ID, expires: f.Expires, done: make(chan struct{}), filed: f}
}

// Refusals of an ask that was never opened. Their text is for the client.
var (
	ErrTooMany = errors.New("too many requests of this identity wait for approval already")
	ErrTooFast = errors.New("this identity asks for approval too often")
	ErrFull    = errors.New("too many requests wait for approval on this host")
	ErrUnkept  = errors.New("the question to people could not be recorded")
	ErrTooLong = errors.New("the request is too long for a person to read")
)

// Ask opens an ask for a held request, or finds the answer that stands for it
// already: an approval whose scope covers it, or a fresh denial (then Wait returns at once). The ask is
// on disk and journalled when Ask returns; an error means that it is neither,
// and that the request must be refused.
func (d *Desk) Ask(_ context.Context, f *flow.Flow, r *flow.Request, dec rules.Decision) (*Ask, error) {
	key := keyOf(f, r, dec)
	if a := d.covered(f.ID, key); a != nil {
		return a, nil
	}
	if length(r) > longestText {
		return nil, ErrTooLong
	}
	d.tidyUp()
	d.transition.Lock()
	defer d.transition.Unlock()
	if a := d.covered(f.ID, key); a != nil { // answered while we waited for our turn
		return a, nil
	}
	if err := d.admit(f.Identity); err != nil {
		return nil, err
	}
	a, err := d.draft(f, r, dec, key)
	if err != nil {
		return nil, err
	}
	if err := d.keep(a); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asks[a.id] = a
	d.opened[f.Identity] = append(d.opened[f.Identity], a.filed.Opened)
	d.announce(a)
	return a, nil
}

// keep makes a new ask durable. The reason why it cannot be is not for the
// client: it may name paths.
func (d *Desk) keep(a *Ask) error {
	err := d.shelf.put(a.filed)
	if errors.Is(err, ErrTooLong) {
		return ErrTooLong
	}
	if err == nil {
		err = d.journal.Log(a.filed.event(flow.AskOpened))
	}
	if err != nil {
		d.complain(a, errors.Join(err, d.shelf.remove(a.id)))
		return ErrUnkept
	}
	return nil
}

// draft writes an ask down.
func (d *Desk) draft(f *flow.Flow, r *flow.Request, dec rules.Decision, key string) (*Ask, error) {
	id, err := d.newID()
	if err != nil {
		return nil, err
	}
	timeout := dec.Timeout
	if timeout <= 0 {
		timeout = d.limits.Timeout
	}
	now := d.now()
	process, request := f.Process, copyOf(r)
	return d.newAsk(filed{V: filedVersion, Key: key, View: View{
		AskState: flow.AskState{ID: id, State: Pending, Opened: now, Expires: now.Add(timeout)},
		Identity: f.Identity, Target: f.Target, Destination: f.Destination, Flow: f.ID, Process: &process, Request: request,
		Rule: dec.Rule, Message: dec.Message, Approvers: slices.Clone(dec.Approvers),
	}}), nil
}

// longestText bounds what is put to people, in bytes.
const longestText = 256 << 10

func length(r *flow.Request) int {
	if r.HTTP == nil {
		return len(r.Text)
	}
	return len(r.Text) + len(r.HTTP.Host) + len(r.HTTP.Path) + len(r.HTTP.Query)
}

// copyOf keeps of a request what people may see: HTTP headers may hold credentials.
func copyOf(r *flow.Request) *flow.Request {
	kept := *r
	kept.Effects = slices.Clone(r.Effects)
	if r.HTTP != nil {
		h := *r.HTTP
		h.Headers = nil
		kept.HTTP = &h
	}
	return &kept
}

// admit says whether an identity may open one more ask.
func (d *Desk) admit(identity string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	total, own := 0, 0
	for _, a := range d.asks {
		if a.filed.State != Pending {
			continue
		}
		total++
		if a.filed.Identity == identity {
			own++
		}
	}
	switch {
	case own >= d.limits.PendingPerIdentity:
		return ErrTooMany
	case total >= d.limits.PendingTotal:
		return ErrFull
	case recent(d.opened[identity], d.now()) >= d.limits.PerMinute:
		return ErrTooFast
	}
	return nil
}

// ID is what people type: "r-7k3q9d".
func (a *Ask) ID() string { return a.id }

// Wait returns when the ask is resolved. It is the clock of its ask: at the
// deadline it resolves it as expired, and a ctx that ends cancels it. A
// request whose client left is not approved any more, whoever was first.
func (a *Ask) Wait(ctx context.Context) flow.AskState {
	timer := time.NewTimer(a.expires.Sub(a.desk.now()))
	defer timer.Stop()
	select {
	case <-a.done:
	case <-ctx.Done():
		a.desk.end(a, outcome{state: Cancelled, reason: "the client cancelled or left"})
	case <-timer.C:
		a.desk.end(a, outcome{state: Expired, reason: "nobody answered in time"})
	}
	state := a.state()
	if state.State == Approved && ctx.Err() != nil {
		state.State, state.Reason = Cancelled, "the client left as the approval came"
	}
	return state
}

func (a *Ask) state() flow.AskState {
	a.desk.mu.Lock()
	defer a.desk.mu.Unlock()
	return a.filed.AskState
}

// end resolves an ask that time or its client has ended. Should the disk or
// the journal fail, it is over all the same: nothing is forwarded.
func (d *Desk) end(a *Ask, o outcome) {
	if err := d.resolve(a, o); err != nil && !errors.Is(err, ErrResolved) {
		d.complain(a, err)
	}
}
