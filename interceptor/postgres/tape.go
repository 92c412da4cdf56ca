package postgres

import (
	"encoding/json"
	"fmt"
	"strings"
	"unsafe"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// reel collects one direction's tape during one Feed, so that the common case is one
// Append of a piece of the buffer, not copied.
type reel struct {
	run     []byte // a piece of the buffer, or scratch
	scratch []byte
	copied  bool
	left    int // bytes left out
}

// add takes a piece that follows what was added before. b must stay valid until write.
func (r *reel) add(b []byte) {
	switch {
	case len(b) == 0:
	case len(r.run) == 0 && !r.copied:
		r.run = b
	case !r.copied && cap(r.run) >= len(r.run)+len(b) && unsafe.SliceData(r.run[len(r.run):cap(r.run)]) == unsafe.SliceData(b):
		r.run = r.run[:len(r.run)+len(b)]
	default:
		r.copy()
		r.scratch = append(r.scratch, b...)
		r.run = r.scratch
	}
}

// put is add for bytes that do not stay valid.
func (r *reel) put(b []byte) {
	r.copy()
	r.scratch = append(r.scratch, b...)
	r.run = r.scratch
}

func (r *reel) copy() {
	if !r.copied {
		r.scratch = append(r.scratch[:0], r.run...)
		r.run, r.copied = r.scratch, true
	}
}

// omit counts bytes the record level leaves out.
func (r *reel) omit(n int) { r.left += n }

// reelKeep is the most scratch memory kept between two batches, in bytes.
const reelKeep = 32 << 10

// trim gives memory back that a large result needed.
func (r *reel) trim() {
	if cap(r.scratch) > reelKeep {
		r.scratch = nil
	}
}

// write puts what was collected on tape.
func (r *reel) write(tape interceptor.Tape, dir interceptor.Direction) error {
	run, left := r.run, r.left
	r.run, r.copied, r.left = nil, false, 0
	if len(run) > 0 {
		kind := interceptor.TapeUp
		if dir == interceptor.Down {
			kind = interceptor.TapeDown
		}
		if err := tape.Append(kind, run); err != nil {
			return fmt.Errorf("record: %w", err)
		}
	}
	if left == 0 {
		return nil
	}
	body := fmt.Appendf(nil, `{"direction":%q,"bytes":%d,"why":"record level"}`, dir.String(), left)
	if err := tape.Append(interceptor.TapeOmitted, body); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// noteAgain is how much of a text that was just noted is noted again, in bytes.
const noteAgain = 1 << 10

// unrepeated is r for the tape: of a text as in the note before only how it begins, since a Bind of
// thirty bytes may run a quarter of a megabyte.
func (e *engine) unrepeated(r *flow.Request) *flow.Request {
	if r == nil || len(r.Text) <= noteAgain {
		return r
	}
	if r.Text != e.noted {
		e.noted = r.Text
		return r
	}
	short := *r
	short.Text = fmt.Sprintf("%s (%d more bytes, as in the decision before)", strings.ToValidUTF8(r.Text[:noteAgain], ""), len(r.Text)-noteAgain)
	return &short
}

// note puts a decision on tape, before the bytes it is about.
func (e *engine) note(j *judged) error {
	if err := e.reels[interceptor.Up].write(e.s.Tape, interceptor.Up); err != nil {
		return err
	}
	a := j.answer
	body, err := json.Marshal(interceptor.TapeNote{
		Request: e.unrepeated(j.request), Ask: a.Ask,
		Verdict: flow.Decided{Verdict: a.Verdict, Rule: a.Rule, Reason: string(a.Cause)},
	})
	if err != nil {
		return fmt.Errorf("record a decision: %w", err)
	}
	if err := e.s.Tape.Append(interceptor.TapeVerdict, body); err != nil {
		return fmt.Errorf("record a decision: %w", err)
	}
	return nil
}
