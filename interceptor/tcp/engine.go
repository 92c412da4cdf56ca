package tcp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// The states of a connection, in order. Whichever direction is fed first asks,
// be it with no bytes: servers that speak first, and peers that both keep silent,
// are asked about too. The other direction is stalled until the answer.
type state uint8

const (
	fresh  state = iota // nobody was fed
	asked               // one direction waits for the answer, the other one stalls
	judged              // the answer is there, and not yet on tape
	open                // everything passes
	shut                // nothing passes any more
)

// omitEvery is how many bytes may pass uncounted on a tape without bytes.
const omitEvery = 1 << 20

// Engine passes a connection whole, or not at all.
type Engine struct {
	session *interceptor.Session
	state   state
	request flow.Request
	answer  interceptor.Answer
	durable bool   // the first bytes upward wait for the disk
	omitted [2]int // bytes passed and not yet counted on tape
	counted [2]bool
	scratch []byte
}

// NewEngine makes the engine of an opened connection.
func NewEngine(s *interceptor.Session) *Engine { return &Engine{session: s} }

// Feed asks first, and then passes everything.
func (e *Engine) Feed(dir interceptor.Direction, in []byte, out *interceptor.Output) (int, error) {
	switch e.state {
	case fresh:
		e.state = asked
		e.compose()
		out.Question = e.question
		return 0, nil
	case asked:
		out.Stalled = true
		return 0, nil
	case judged:
		if err := e.begin(out); err != nil {
			return 0, err
		}
	}
	if e.state == shut {
		out.End = true
		return 0, nil
	}
	return e.pass(dir, in, out)
}

// Resume brings the answer for the whole connection.
func (e *Engine) Resume(a interceptor.Answer) {
	e.answer, e.state = a, judged
}

// Tell does nothing: an opaque client cannot be told.
func (e *Engine) Tell(string) {}

// EOF lets a peer close its half once the connection is open, and ends it before.
func (e *Engine) EOF(dir interceptor.Direction, out *interceptor.Output) error {
	if e.state != open {
		e.state, out.End = shut, true
		return nil
	}
	return e.count(dir)
}

// compose makes the one request of the connection.
func (e *Engine) compose() {
	sum := sha256.Sum256([]byte("tcp connect " + e.session.Flow.Destination.String()))
	e.request = flow.Request{
		ID: e.session.NextRequest(), Protocol: "tcp", Kind: flow.KindConnect, Text: "connect",
		Effects:     []flow.Effect{{Action: flow.Unknown, Via: "opaque"}},
		Fingerprint: hex.EncodeToString(sum[:]),
		Changes:     true, // nobody can tell that it does not
	}
}

func (e *Engine) question(context.Context) (*flow.Request, error) {
	r := e.request
	return &r, nil
}

// begin takes the answer down and opens or shuts the connection.
func (e *Engine) begin(out *interceptor.Output) error {
	e.state = shut
	note, err := json.Marshal(interceptor.TapeNote{
		Request: &e.request, Ask: e.answer.Ask,
		Verdict: flow.Decided{Verdict: e.answer.Verdict, Rule: e.answer.Rule, Reason: string(e.answer.Cause)},
	})
	if err != nil {
		return fmt.Errorf("encode the verdict: %w", err)
	}
	if err := e.session.Tape.Append(interceptor.TapeVerdict, note); err != nil {
		return fmt.Errorf("record the verdict: %w", err)
	}
	out.Kick = true // the other direction stalls, or has yet to learn that it is over
	if e.answer.Verdict == flow.Allow || e.answer.Verdict == flow.Warn {
		e.state, e.durable = open, true
	}
	return nil
}

// pass records and releases bytes.
func (e *Engine) pass(dir interceptor.Direction, in []byte, out *interceptor.Output) (int, error) {
	if len(in) == 0 {
		return 0, nil
	}
	if err := e.record(dir, in); err != nil {
		e.state = shut
		return 0, err
	}
	if dir == interceptor.Up && e.durable {
		out.Durable, e.durable = true, false
	}
	out.Pass(in)
	return len(in), nil
}

// record takes bytes down as the record level says.
func (e *Engine) record(dir interceptor.Direction, in []byte) error {
	kind, level := interceptor.TapeUp, e.session.Level
	taken := level == rules.RecordFull
	if dir == interceptor.Down {
		kind, taken = interceptor.TapeDown, taken || level == rules.RecordResults
	}
	if taken {
		if err := e.session.Tape.Append(kind, in); err != nil {
			return fmt.Errorf("record %s: %w", dir, err)
		}
		return nil
	}
	e.omitted[dir] += len(in)
	if e.counted[dir] && e.omitted[dir] < omitEvery {
		return nil
	}
	return e.count(dir)
}

// count says on tape how many bytes were left out.
func (e *Engine) count(dir interceptor.Direction) error {
	if e.omitted[dir] == 0 {
		return nil
	}
	b := append(e.scratch[:0], `{"direction":"`...)
	b = append(b, dir.String()...)
	b = append(b, `","bytes":`...)
	b = strconv.AppendInt(b, int64(e.omitted[dir]), 10)
	e.scratch = append(b, `,"why":"record level"}`...)
	if err := e.session.Tape.Append(interceptor.TapeOmitted, e.scratch); err != nil {
		e.state = shut
		return fmt.Errorf("record the count: %w", err)
	}
	e.omitted[dir], e.counted[dir] = 0, true
	return nil
}
