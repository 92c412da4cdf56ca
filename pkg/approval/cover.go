package approval

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// Scope says how far an approval reaches: the zero value is this one request.
type Scope struct {
	Session bool          // the same request again, on the same flow
	For     time.Duration // the same request again, of the same identity on the same target
}

// ErrBadScope says that a scope could not be read.
var ErrBadScope = errors.New("no such scope")

// ParseScope reads "once" (also ""), "session" or a duration such as "30m".
func ParseScope(s string) (Scope, error) {
	switch s {
	case "", "once":
		return Scope{}, nil
	case "session":
		return Scope{Session: true}, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second {
		return Scope{}, fmt.Errorf("%w: %s", ErrBadScope, `it is "once", "session" or a duration of a second or more, such as "30m"`)
	}
	return Scope{For: d}, nil
}

func (s Scope) String() string {
	switch {
	case s.Session:
		return "session"
	case s.For > 0:
		return s.For.String()
	}
	return "once"
}

// until is when an approval given at now stops covering further requests;
// zero when it covers none, or as long as its flow lives.
func (s Scope) until(now time.Time) time.Time {
	if s.For > 0 && !s.Session {
		return now.Add(s.For)
	}
	return time.Time{}
}

// cover is an answer that stands for the same request when it comes again.
type cover struct {
	ask   *Ask
	until time.Time // zero: as long as the flow lives
}

func (c cover) over(now time.Time) bool { return !c.until.IsZero() && !now.Before(c.until) }

// keyOf tells requests apart as a person would: who (an approver's answer must
// never reach a process of the approver's own user), where (a target may be a network of servers), as whom, what, and
// which rule wants to know (an approval for one rule, by its approvers, says
// nothing of another). Empty when the request has no fingerprint: then no
// answer is ever used twice.
func keyOf(f *flow.Flow, r *flow.Request, d rules.Decision) string {
	if r.Fingerprint == "" {
		return ""
	}
	parts := []any{f.Identity, f.Process.UID, f.Target, f.Destination, r.Protocol, r.Kind, r.User, r.Database, r.Fingerprint, r.Effects, d.Rule, d.Approvers}
	text, err := json.Marshal(parts)
	if err != nil {
		panic(fmt.Sprintf("strings and effects always encode: %v", err))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// sessionKey is the key of a cover that ends with its flow.
func sessionKey(flowID, key string) string { return "session " + flowID + " " + key }

// covered finds the answer that stands for a request, nil when there is none.
func (d *Desk) covered(flowID, key string) *Ask {
	if key == "" {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range []string{key, sessionKey(flowID, key)} {
		if c, ok := d.covers[k]; ok && !c.over(d.now()) {
			return c.ask
		}
	}
	return nil
}

// remember makes the answer to a stand for what its scope covers. Called under mu.
func (d *Desk) remember(a *Ask, o outcome) {
	f := a.filed
	switch {
	case f.Key == "":
	case o.state == Denied && o.by != "":
		d.covers[f.Key] = cover{ask: a, until: f.Resolved.Add(d.limits.StickyDeny)}
	case o.state == Approved && o.scope.Session && f.Flow != "":
		d.covers[sessionKey(f.Flow, f.Key)] = cover{ask: a}
	case o.state == Approved && !f.Until.IsZero():
		d.covers[f.Key] = cover{ask: a, until: f.Until}
	}
}

// Forget drops the session approvals of a flow that has ended.
func (d *Desk) Forget(flowID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, c := range d.covers {
		if c.until.IsZero() && c.ask.filed.Flow == flowID {
			delete(d.covers, key)
		}
	}
}
