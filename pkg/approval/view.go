package approval

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// View is an ask as listings show it. Everything in it that comes from the
// subagent is untrusted: print it through Visible.
type View struct {
	flow.AskState
	Identity    string         `json:"identity"`
	Target      string         `json:"target"`
	Destination netip.AddrPort `json:"destination,omitzero"` // which of the target's servers
	Flow        string         `json:"session"`
	Process     *flow.Process  `json:"process"`
	Request     *flow.Request  `json:"request"`
	Rule        string         `json:"rule,omitempty"`
	Message     string         `json:"message,omitempty"` // of the rule
	Approvers   []string       `json:"approvers,omitempty"`
	// Alike counts the other pending asks for the same request.
	Alike int `json:"alike,omitempty"`
	// TextBytes is the length of request.text where only its beginning is shown.
	TextBytes int `json:"text_bytes,omitempty"`
}

// shortText is how much of a request's text a listing shows, in bytes.
const shortText = 4 << 10

// shortened is v with the beginning of its text only.
func (v View) shortened() View {
	if len(v.Request.Text) <= shortText {
		return v
	}
	r := *v.Request
	v.TextBytes = len(r.Text)
	r.Text = strings.ToValidUTF8(r.Text[:shortText], "")
	v.Request = &r
	return v
}

// List returns the asks in a state ("" for all), newest first, long texts shortened.
func (d *Desk) List(state string) []View {
	d.mu.Lock()
	defer d.mu.Unlock()
	alike := map[string]int{}
	for _, a := range d.asks {
		if a.filed.State == Pending && a.filed.Key != "" {
			alike[a.filed.Key]++
		}
	}
	found := []View{}
	for _, a := range d.asks {
		if state != "" && a.filed.State != state {
			continue
		}
		v := a.filed.shortened()
		if v.State == Pending && a.filed.Key != "" {
			v.Alike = alike[a.filed.Key] - 1
		}
		found = append(found, v)
	}
	slices.SortFunc(found, func(a, b View) int {
		return cmp.Or(b.Opened.Compare(a.Opened), cmp.Compare(a.ID, b.ID))
	})
	return found
}

// Show returns one ask; ErrUnknown when there is none.
func (d *Desk) Show(id string) (View, error) {
	a, err := d.find(id)
	if err != nil {
		return View{}, err
	}
	return d.view(a), nil
}

// find takes an id as people type it: in capitals, or with the letters that
// Crockford's base32 leaves out because they look like digits.
func (d *Desk) find(id string) (*Ask, error) {
	id = strings.ToLower(id)
	if rest, ok := strings.CutPrefix(id, "r-"); ok {
		id = "r-" + strings.NewReplacer("o", "0", "i", "1", "l", "1").Replace(rest)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if a, ok := d.asks[id]; ok {
		return a, nil
	}
	return nil, ErrUnknown
}

func (d *Desk) view(a *Ask) View {
	d.mu.Lock()
	defer d.mu.Unlock()
	return a.filed.View
}

// Counts says how many asks are in each state, for the metrics.
func (d *Desk) Counts() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	counts := map[string]int{}
	for _, state := range states {
		counts[state] = 0
	}
	for _, a := range d.asks {
		counts[a.filed.State]++
	}
	return counts
}

// watchBacklog is how many changes a watcher may be behind before it is let go.
const watchBacklog = 64

// Watcher is told of every ask that opens or is resolved.
type Watcher struct {
	desk    *Desk
	changes chan View
}

// Watch starts watching; the caller calls Stop.
func (d *Desk) Watch() *Watcher {
	w := &Watcher{desk: d, changes: make(chan View, watchBacklog)}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watchers[w] = struct{}{}
	return w
}

// Changes brings the asks as they change. It is closed by Stop, when the desk
// closes, and when the watcher is too slow: then it lists again and watches anew.
func (w *Watcher) Changes() <-chan View { return w.changes }

// Stop ends the watching.
func (w *Watcher) Stop() {
	w.desk.mu.Lock()
	defer w.desk.mu.Unlock()
	w.desk.drop(w)
}

// announce tells the watchers of a change. Called under mu; it never blocks.
func (d *Desk) announce(a *Ask) {
	for w := range d.watchers {
		select {
		case w.changes <- a.filed.shortened():
		default:
			d.drop(w)
		}
	}
}

// drop lets a watcher go. Called under mu.
func (d *Desk) drop(w *Watcher) {
	if _, watching := d.watchers[w]; watching {
		delete(d.watchers, w)
		close(w.changes)
	}
}
