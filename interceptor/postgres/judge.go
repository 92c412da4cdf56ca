package postgres

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
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
// it is not changed, but for its gist.
type judged struct {
	text    string
	partial bool   // text is only how it begins
	run     *bound // the parameters it was judged with; nil: without
	unsure  doubts // how the server may read text differently than we do
	reading *sqlread.Reading
	request *flow.Request
	answer  interceptor.Answer
	settled bool
	doubted bool // reading knows nothing, for a reason of ours
	named   bool // it runs what a name stands for, which may change
	traits  traits
	gist    gist // under the engine's lock
}

// traits are what running a text means for the session.
type traits uint8

const (
	redefines traits = 1 << iota // changes what relations and functions are
	renames                      // may change what names of statements and portals stand for
	launders                     // may carry values to settings and notifications
	resets                       // may change who runs later texts, and what names in them mean
	reverts                      // ends a transaction, or what it did since a savepoint
	declares                     // makes a cursor: what it reads is run later
	fetches                      // runs a cursor
	finishes                     // runs what statements before it have put off: deferred triggers, cursors WITH HOLD
)

var errUnread = errors.New("the text could not be read")

// read is the interceptor.Question of a text. It runs outside of the engine's lock and
// is the only one to touch j until settle.
// prepared finds what SQL's PREPARE gave a name.
// run and settings are what it runs with.
func (j *judged) read(reader sqlread.Reader, prepared func(string) *sqlread.Statement, run *bound, settings [sha256.Size]byte) interceptor.Question {
	return func(ctx context.Context) (*flow.Request, error) {
		r, err := reader.Read(ctx, j.text)
		if err != nil {
			return nil, errors.Join(errUnread, err)
		}
		if r == nil {
			return nil, errUnread
		}
		if r.Redacted == j.text {
			shared := *r
			shared.Redacted, r = j.text, &shared // one copy of it, however often it runs
		}
		unsure, err := j.unsure.dispel(ctx, reader, r)
		if err != nil {
			return nil, errors.Join(errUnread, err)
		}
		j.reading = j.doubt(r.Resolve(prepared), unsure)
		j.named = executes(r)
		q := j.request
		q.Text, q.Effects, q.Fingerprint, q.Changes = r.Redacted, j.reading.Effects(), j.reading.Fingerprint, j.reading.Changes
		if j.named {
			q.Fingerprint = once() // the same words run something else in another session
		}
		q.Run = run.fingerprint(q.Fingerprint, settings)
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
func (j *judged) doubt(r *sqlread.Reading, why string) *sqlread.Reading {
	if j.partial {
		why = "the text is too long to be read"
	}
	if why == "" {
		return r
	}
	j.doubted = true
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
	j.answer, j.settled = a, true
	j.traits = renames | launders | resets
	if j.reading != nil && j.reading.Unread == "" {
		j.traits = traitsOf(j.reading)
	}
}

func traitsOf(r *sqlread.Reading) traits {
	var t traits
	for i := range r.Statements {
		s := &r.Statements[i]
		switch {
		case s.Node == "NotifyStmt": // its words are the client's, and stand in it
			continue
		case s.Node == "DeclareCursorStmt":
			t |= declares
		case s.Node == "ConstraintsSetStmt":
			t |= finishes
		case s.Node == "FetchStmt":
			t |= fetches
		case s.Node == "PrepareStmt", s.Node == "ExecuteStmt":
		case s.Opaque:
			t |= renames | launders | resets
		}
		for _, e := range s.Effects {
			switch e.Action {
			case flow.Create, flow.Alter, flow.Drop:
				t |= redefines
			case flow.Admin, flow.Unknown, flow.Execute, flow.ExecuteHost:
				t |= renames
			case flow.Transaction:
				t |= ofTransaction(e.Object)
			}
			if e.Action == flow.Execute {
				t |= launders
			}
			switch e.Action {
			case flow.SessionSet, flow.Unknown, flow.Execute, flow.Admin, flow.SetRole:
				t |= resets
			}
		}
	}
	return t
}

// ofTransaction are the traits of a transaction's verb.
func ofTransaction(verb string) traits {
	switch verb {
	case "COMMIT":
		return reverts | finishes
	case "ROLLBACK", "ROLLBACK_TO":
		return reverts
	case "PREPARE":
		return reverts | redefines | finishes
	case "COMMIT_PREPARED", "ROLLBACK_PREPARED":
		return redefines // of whatever that transaction had defined
	}
	return 0
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
