package postgres

import (
	"errors"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// asking is a text to be judged, and what is known of its run.
type asking struct {
	text    []byte
	partial bool
	run     *bound     // nil at Parse, and where a run's parameters were not kept
	whole   bool       // the text is all there is to know of the run
	stmt    *statement // nil: the text is sent now; else it was read by the server when this was prepared
}

// deferred says that people cannot be asked: there is no run yet, or not all of it can be seen.
func (a asking) deferred() bool { return a.partial || !a.whole && (a.run == nil || a.run.huge) }

// own is the text to be kept: all runs of a statement share its own.
func (a asking) own() string {
	if a.stmt != nil {
		return a.stmt.j.text
	}
	return string(a.text)
}

// judge finds what becomes of a text; false means that the question is out. The same
// call is repeated once the answer is there.
func (e *engine) judge(w *walk, a asking) (*judged, bool, error) {
	if e.asked != nil {
		return e.taken(w, a)
	}
	unsure := e.doubts(a)
	if unsure != (doubts{}) && e.settles() {
		e.stalled, e.drain, w.out.Stalled = true, true, true
		return nil, false, nil
	}
	if j := e.texts.by[string(a.text)]; j != nil && !a.partial && j.unsure == unsure && j.stands(e.generation()) {
		e.s.Meter.Request(e.s.Flow.Identity, e.s.Flow.Target, j.answer.Verdict)
		return j, true, nil
	}
	w.pass()
	j := &judged{text: a.own(), partial: a.partial, run: a.run, unsure: unsure, request: e.request(flow.KindQuery)}
	j.request.Deferred = a.deferred()
	if a.run != nil {
		j.request.Parameters = a.run.shown
	}
	e.asked, w.out.Question = j, j.read(e.p.reader, e.named(a.text), a.run, e.settings)
	return nil, false, nil
}

// doubts are those about a text. What was prepared is not read again by the server.
func (e *engine) doubts(a asking) doubts {
	switch {
	case a.partial:
		return doubts{} // nothing of it is believed
	case a.stmt != nil:
		return a.stmt.j.unsure
	}
	return e.lexing.doubt(a.text)
}

// settles says that the settings a text is read under will be known once the server has answered
// all it owes.
func (e *engine) settles() bool {
	return e.lexing.tuned && e.queue.n > 0 && e.ends(e.queue.at(e.queue.n-1))
}

// taken takes the answer to the question that is out, once it is there.
func (e *engine) taken(w *walk, a asking) (*judged, bool, error) {
	j := e.asked
	if !j.settled {
		return nil, false, nil
	}
	e.asked = nil
	if j.text != string(a.text) || j.partial != a.partial || !j.run.same(a.run) {
		// An error of the server's came meanwhile, and took along what the message stood for.
		return e.judge(w, a)
	}
	if !a.partial && !j.named && j.answer.Reusable {
		e.texts.keep(j)
	}
	if j.held() {
		return j, true, nil
	}
	return j, true, e.note(j)
}

// held says that people have to be asked each time it is about to run.
func (j *judged) held() bool { return j.answer.Verdict == flow.Hold }

// unaskable denies what would be held, had anybody seen all of it.
func (e *engine) unaskable(j *judged, why string) error {
	rule := j.answer.Rule
	j.answer = interceptor.Answer{Verdict: flow.Deny, Cause: interceptor.ByIgnorance, Rule: rule, Message: why, Generation: e.generation()}
	if err := e.s.Refused(j.request, rule, why); err != nil {
		return errors.Join(errRecord, err)
	}
	return e.note(j)
}

// again finds what becomes of a run of a portal. What was asked at Parse covers one
// run, unless people have to be asked.
func (e *engine) again(w *walk, p *portal) (*judged, bool, error) {
	s := p.stmt
	if e.asked == nil && s.known && !s.j.held() {
		if s.j.stands(e.generation()) {
			if !s.fresh {
				e.s.Meter.Request(e.s.Flow.Identity, e.s.Flow.Target, s.j.answer.Verdict)
			}
			s.fresh = false
			return s.j, true, nil
		}
		if s.fresh && s.j.answer.Generation == e.generation() {
			s.fresh = false
			return s.j, true, nil
		}
	}
	if s.j.partial {
		j := *s.j
		return &j, true, e.unaskable(&j, "Prepare the statement again: it has to be judged anew, and is too long to be kept.")
	}
	j, ok, err := e.judge(w, asking{text: []byte(s.j.text), run: p.bound, stmt: s})
	if !ok || err != nil {
		return nil, false, err
	}
	s.fresh = false
	if !s.known || j.answer.Reusable {
		s.j = j
	}
	if !j.held() {
		return j, true, nil
	}
	return e.unseen(p, *j)
}

// unseen denies a run that would be held, but whose parameters nobody could see.
func (e *engine) unseen(p *portal, j judged) (*judged, bool, error) {
	why := "Bind it again: by now somebody has to be asked, and its parameters are not known any more."
	if p.bound != nil {
		why = "Parameters this long cannot be approved, since nobody could see them."
	}
	return &j, true, e.unaskable(&j, why)
}
