package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// maxText is the longest text, in bytes, that is read as a whole. Of a longer one
// the first prefixText bytes are looked at, and its effects are unknown.
const (
	maxText    = 256 << 10
	prefixText = 64 << 10
)

// judged is a text with what was read in it and what became of it. Once settled
// it is not changed.
type judged struct {
	text    string
	partial bool   // text is only how it begins
	unsure  string // why the server may read text differently than we do
	reading *sqlread.Reading
	request *flow.Request
	answer  interceptor.Answer
	settled bool
	named   bool // it runs what a name stands for, which may change
	traits  traits
}

// traits are what running a text means for the session.
type traits uint8

const (
	redefines   traits = 1 << iota // changes what relations and functions are
	mayRedefine                    // runs code or text that may
	renames                        // may change what statement names stand for
	retunes                        // may change how later texts are read
	launders                       // may carry values to settings and notifications
)

var errUnread = errors.New("the text could not be read")

// read is the interceptor.Question of a text. It runs outside of the engine's lock and
// is the only one to touch j until settle.
// prepared finds what SQL's PREPARE gave a name.
func (j *judged) read(reader sqlread.Reader, prepared func(string) *sqlread.Statement) interceptor.Question {
	return func(ctx context.Context) (*flow.Request, error) {
		r, err := reader.Read(ctx, j.text)
		if err != nil {
			return nil, errors.Join(errUnread, err)
		}
		if r == nil {
			return nil, errUnread
		}
		j.reading = j.doubt(r.Resolve(prepared))
		j.named = executes(r)
		q := j.request
		q.Text, q.Effects, q.Fingerprint, q.Changes = r.Redacted, j.reading.Effects(), j.reading.Fingerprint, j.reading.Changes
		if j.named {
			q.Fingerprint = once() // the same words run something else in another session
		}
		return q, nil
	}
}

func executes(r *sqlread.Reading) bool {
	for i := range r.Statements {
		if r.Statements[i].Executes != "" || r.Statements[i].Node == "FetchStmt" {
			return true
		}
	}
	return false
}

// known is the interceptor.Question of a request that needs no reading.
func (j *judged) known(context.Context) (*flow.Request, error) { return j.request, nil }

// doubt turns a reading that may not be the server's into one that knows nothing.
func (j *judged) doubt(r *sqlread.Reading) *sqlread.Reading {
	why := j.unsure
	if j.partial {
		why = "the text is too long to be read"
	}
	if why == "" {
		return r
	}
	doubtful := *r
	doubtful.Unread, doubtful.Changes = why, true
	doubtful.Statements = []sqlread.Statement{{Opaque: true, Effects: []flow.Effect{{Action: flow.Unknown}}}}
	if j.partial {
		doubtful.Fingerprint = once()
	}
	return &doubtful
}

// once is a fingerprint that no other request has.
func once() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// settle takes the answer.
func (j *judged) settle(a interceptor.Answer) {
	if j.partial && a.Ask != "" && a.Verdict != flow.Deny {
		a.Verdict, a.Cause = flow.Deny, interceptor.ByIgnorance
		a.Message = "A text this long cannot be approved, since nobody saw all of it."
	}
	j.answer, j.settled = a, true
	j.traits = mayRedefine | renames | retunes | launders
	if j.reading != nil && j.reading.Unread == "" {
		j.traits = traitsOf(j.reading)
	}
}

func traitsOf(r *sqlread.Reading) traits {
	var t traits
	for i := range r.Statements {
		s := &r.Statements[i]
		switch {
		case s.Node == "PrepareStmt":
			t |= renames
		case s.Node == "FetchStmt", s.Node == "ExecuteStmt":
		case s.Opaque:
			t |= mayRedefine | renames | retunes | launders
		}
		if len(s.Functions) > 0 {
			t |= retunes // set_config, or one that calls it
		}
		for _, e := range s.Effects {
			switch e.Action {
			case flow.Create, flow.Alter, flow.Drop:
				t |= redefines
			case flow.Admin, flow.Unknown, flow.Execute, flow.ExecuteHost:
				t |= mayRedefine
			}
			if e.Action == flow.Execute {
				t |= launders
			}
			switch e.Action {
			case flow.SessionSet, flow.Unknown, flow.Execute, flow.Admin, flow.SetRole:
				t |= retunes
			}
		}
	}
	return t
}

// stands says whether the answer can be used again, at the policy's generation.
func (j *judged) stands(generation uint64) bool {
	return j.answer.Reusable && !j.named && j.answer.Generation == generation
}

func (j *judged) denied() bool { return j.answer.Verdict == flow.Deny }

// texts remembers answers by text, within bounds.
type texts struct {
	by    map[string]*judged
	bytes int
}

const (
	maxTexts     = 256
	maxTextBytes = 1 << 20
)

func (t *texts) keep(j *judged) {
	if t.by == nil || len(t.by) >= maxTexts || t.bytes+len(j.text) > maxTextBytes {
		t.by, t.bytes = map[string]*judged{}, 0
	}
	if _, there := t.by[j.text]; !there {
		t.bytes += len(j.text)
	}
	t.by[j.text] = j
}

// judge finds what becomes of text; false means that the question is out. The same
// call is repeated once the answer is there.
func (e *engine) judge(w *walk, text []byte, partial bool) (*judged, bool, error) {
	if j := e.asked; j != nil {
		if !j.settled {
			return nil, false, nil
		}
		e.asked = nil
		if j.text != string(text) || j.partial != partial {
			return nil, false, violation{"an answer to another question"}
		}
		if !partial && !j.named && j.answer.Reusable {
			e.texts.keep(j)
		}
		return j, true, e.note(j)
	}
	if e.unsettled(text) {
		if e.ends(e.queue.at(e.queue.n - 1)) {
			e.stalled, e.drain, w.out.Stalled = true, true, true
			return nil, false, nil
		}
		e.lexing.tuned = true // within the batch its settings are not reported
	}
	unsure := e.lexing.doubt(text)
	if j := e.texts.by[string(text)]; j != nil && !partial && j.unsure == unsure && j.stands(e.generation()) {
		e.s.Meter.Request(e.s.Flow.Identity, e.s.Flow.Target, j.answer.Verdict)
		return j, true, nil
	}
	w.pass()
	e.asked = &judged{text: string(text), partial: partial, unsure: unsure, request: e.request(flow.KindQuery)}
	w.out.Question = e.asked.read(e.p.reader, e.prepared.find)
	return nil, false, nil
}

// again judges a prepared statement anew, before it runs, where its answer does not stand any more.
func (e *engine) again(w *walk, s *statement) (bool, error) {
	if e.asked == nil && s.known && s.j.stands(e.generation()) {
		if s.fresh {
			s.fresh = false
		} else {
			e.s.Meter.Request(e.s.Flow.Identity, e.s.Flow.Target, s.j.answer.Verdict)
		}
		return true, nil
	}
	if e.asked == nil && s.fresh && s.j.answer.Generation == e.generation() {
		s.fresh = false // what was asked at Parse covers one run
		return true, nil
	}
	if s.j.partial {
		return true, e.forgotten(s)
	}
	j, ok, err := e.judge(w, []byte(s.j.text), false)
	if !ok || err != nil {
		return false, err
	}
	s.j = j
	return true, nil
}

// forgotten denies a statement whose text was too long to keep.
func (e *engine) forgotten(s *statement) error {
	j := *s.j
	j.answer = interceptor.Answer{Verdict: flow.Deny, Cause: interceptor.ByIgnorance, Generation: e.generation(),
		Message: "Prepare the statement again: it has to be judged anew, and is too long to be kept."}
	s.j = &j
	return nil
}

// ran notes that a text was sent to be run.
func (e *engine) ran(j *judged) {
	if movesPortals(j) {
		clear(e.portals) // they are judged as the cursors they may be
	}
	e.lexing.tuned = e.lexing.tuned || j.traits&retunes != 0
	// Who sees everything has no reason to hide what a function of his changes.
	if j.traits&redefines != 0 || j.traits&mayRedefine != 0 && e.s.Masks.HasColumns() {
		e.redefined()
	}
	if j.traits&launders != 0 {
		e.laundered = true
	}
	if j.reading != nil {
		e.prepared.note(j.reading, e.statements)
	}
	if j.traits&renames == 0 {
		return
	}
	for _, s := range e.statements {
		s.renamed = true
	}
}

// unsettled says that what is on its way may change how text is read: any statement may, by
// a function, a trigger or the end of a transaction.
func (e *engine) unsettled(text []byte) bool {
	if bytes.IndexByte(text, '\\') < 0 && !hasHigh(text) {
		return false
	}
	for i := range e.queue.n {
		switch e.queue.at(i).step {
		case stepExecute, stepQuery, stepFunction:
			return true
		}
	}
	return false
}

// ends says that an owed entry is the last of its batch.
func (e *engine) ends(o *owed) bool {
	return o.step == stepSync || o.step == stepQuery || o.step == stepFunction
}

// awaits says that a name was given in an earlier batch of which it is not known whether the
// server carried it out, and has the message wait until it is.
func (e *engine) awaits(w *walk, batch int) bool {
	if batch >= e.sent || batch < e.done || e.queue.n == 0 {
		return false
	}
	e.until = batch + 1
	e.stalled, e.drain, w.out.Stalled = true, true, true
	return true
}

// movesPortals says that running a text may end portals, or give their names to SQL cursors.
func movesPortals(j *judged) bool {
	if j.reading == nil || j.reading.Unread != "" {
		return true
	}
	for i := range j.reading.Statements {
		s := &j.reading.Statements[i]
		switch s.Node {
		case "TransactionStmt", "DeclareCursorStmt", "ClosePortalStmt", "DiscardStmt":
			return true
		case "FetchStmt", "ExecuteStmt":
		default:
			if s.Opaque {
				return true
			}
		}
	}
	return false
}
