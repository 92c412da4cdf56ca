package http

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// countEvery is how many bytes may be left out before the tape is told how many.
const countEvery = 1 << 20

// errUnrecorded is what a tape's error is wrapped in.
var errUnrecorded = errors.New("record")

// reel takes a conversation down as the client has it. Heads are always
// recorded, their credentials blotted out; bodies as the record level says.
type reel struct {
	tape    interceptor.Tape
	left    [2]int // bytes left out and not yet counted on tape
	scratch []byte
}

func (r *reel) verdict(req *flow.Request, a interceptor.Answer) error {
	note, err := json.Marshal(interceptor.TapeNote{
		Request: req, Ask: a.Ask,
		Verdict: flow.Decided{Verdict: a.Verdict, Rule: a.Rule, Reason: string(a.Cause)},
	})
	if err != nil {
		return fmt.Errorf("encode the verdict: %w", err)
	}
	return r.append(interceptor.TapeVerdict, note)
}

func (r *reel) bytes(dir interceptor.Direction, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if dir == interceptor.Up {
		return r.append(interceptor.TapeUp, b)
	}
	return r.append(interceptor.TapeDown, b)
}

func (r *reel) append(kind interceptor.TapeKind, b []byte) error {
	if err := r.tape.Append(kind, b); err != nil {
		return fmt.Errorf("%w: %w", errUnrecorded, err)
	}
	return nil
}

// body records a piece of a body, or counts it.
func (r *reel) body(dir interceptor.Direction, b []byte, taken bool) error {
	if taken {
		return r.bytes(dir, b)
	}
	if r.left[dir] += len(b); r.left[dir] < countEvery {
		return nil
	}
	return r.close(dir)
}

// close says on tape how many bytes were left out. Called where a body ends.
func (r *reel) close(dir interceptor.Direction) error {
	if r.left[dir] == 0 {
		return nil
	}
	b := append(r.scratch[:0], `{"direction":"`...)
	b = append(b, dir.String()...)
	b = append(b, `","bytes":`...)
	b = strconv.AppendInt(b, int64(r.left[dir]), 10)
	r.scratch = append(b, `,"why":"record level"}`...)
	r.left[dir] = 0
	return r.append(interceptor.TapeOmitted, r.scratch)
}
