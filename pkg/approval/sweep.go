package approval

import (
	"slices"
	"time"
)

// tidyEvery bounds how often the desk is looked through, whatever a subagent does.
const tidyEvery = time.Second

// tidyUp ends what nobody waits for, and forgets what has had its time.
func (d *Desk) tidyUp() {
	d.mu.Lock()
	now := d.now()
	due := now.Sub(d.tidied) >= tidyEvery
	if due {
		d.tidied = now
	}
	d.mu.Unlock()
	if !due {
		return
	}
	d.expire()
	d.transition.Lock()
	defer d.transition.Unlock()
	d.sweep()
}

// expire ends the asks that are past their deadline and that nobody waits for
// any more; those with a waiter end by its timer.
func (d *Desk) expire() {
	now := d.now()
	for _, a := range d.pending(func(a *Ask) bool { return now.After(a.expires) }) {
		d.end(a, outcome{state: Expired, reason: "nobody answered in time"})
	}
}

// recent counts the times of the last minute.
func recent(times []time.Time, now time.Time) int {
	n := 0
	for _, t := range times {
		if now.Sub(t) < time.Minute {
			n++
		}
	}
	return n
}

// sweep forgets what has had its time: old resolved asks, answers that stand no
// longer, and when asks were opened. Called under transition, or before the desk is open.
func (d *Desk) sweep() {
	now := d.now()
	d.mu.Lock()
	for key, c := range d.covers {
		if c.over(now) {
			delete(d.covers, key)
		}
	}
	for identity, times := range d.opened {
		d.opened[identity] = slices.DeleteFunc(times, func(t time.Time) bool { return now.Sub(t) >= time.Minute })
		if len(d.opened[identity]) == 0 {
			delete(d.opened, identity)
		}
	}
	old := d.old(now)
	for _, a := range old {
		delete(d.asks, a.id)
	}
	d.mu.Unlock()
	for _, a := range old {
		_ = d.shelf.remove(a.id) // what stays is read, and removed, at the next start
	}
}

// old lists the resolved asks that need not be kept. Called under mu.
func (d *Desk) old(now time.Time) []*Ask {
	var resolved []*Ask
	for _, a := range d.asks {
		if a.filed.State != Pending && !a.filed.Until.After(now) {
			resolved = append(resolved, a)
		}
	}
	slices.SortFunc(resolved, func(a, b *Ask) int { return b.filed.Resolved.Compare(a.filed.Resolved) })
	for i, a := range resolved {
		if i >= d.limits.KeepAtMost || now.Sub(a.filed.Resolved) > d.limits.Keep {
			return resolved[i:]
		}
	}
	return nil
}
