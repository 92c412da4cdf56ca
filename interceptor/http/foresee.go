package http

import (
	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/http/wire"
	"github.com/chaperone-dev/chaperone/rules/mask"
)

// foreseen is what the beginning of a body says of the rest.
type foreseen uint8

const (
	unseen   foreseen = iota // more of it is needed
	likely                   // it begins as JSON does
	hopeless                 // it is not JSON
)

// foresight is the longest body that is looked at whole before its head is released, in
// bytes. Of a longer one, or one without a length, it is the first byte that is not blank.
const foresight = 4 << 10

// foresee looks whether a body that calls itself JSON is: once the head is released a
// body can only be cut off, and a client would take that for a broken server. What it says
// does not depend on how the bytes came.
func (e *Engine) foresee(in []byte, x *exchange) foreseen {
	framing := e.down.resp.Framing
	if framing.By != wire.ByLength || framing.Length > foresight {
		return first(in, framing)
	}
	if int64(len(in)) < framing.Length {
		return unseen
	}
	trial := newJSONScrubber(x.masks.JSON(), 0, mask.Mask{}, func(int) {})
	_, err := trial.write(nil, in[:framing.Length])
	if err == nil {
		_, err = trial.close(nil)
	}
	if err != nil {
		return hopeless
	}
	return likely
}

// first looks at a body's first byte that is not blank; a body without one is left to the scrubber.
func first(in []byte, framing wire.Framing) foreseen {
	var body wire.Body
	body.Begin(framing)
	blanks := 0
	for len(in) > 0 && !body.Done() {
		n, content, err := body.Next(in)
		if err != nil {
			return likely // the body's own fault, and told as that
		}
		in = in[n:]
		for _, c := range content {
			if !blank(c, true) {
				return begins(c)
			}
			if blanks++; blanks > foresight {
				return likely
			}
		}
	}
	if body.Done() {
		return likely
	}
	return unseen
}

// begins says whether a JSON value may begin with c.
func begins(c byte) foreseen {
	switch {
	case c == '{', c == '[', c == '"', c == '-', c == 't', c == 'f', c == 'n', '0' <= c && c <= '9':
		return likely
	}
	return hopeless
}

// await keeps the head of a response whose body is still to be looked at, for the case that nothing follows.
func (e *Engine) await(head []byte) (int, bool, error) {
	e.down.waiting = append(e.down.waiting[:0], head...)
	return 0, false, nil
}

// awaited answers with what was waited for when the server is at its end: an empty body
// passes, one that was cut off does not.
func (e *Engine) awaited(out *interceptor.Output) error {
	d, x := &e.down, e.line.front()
	if len(d.waiting) == 0 || x == nil {
		return nil
	}
	head := d.waiting
	d.waiting = nil
	if _, err := d.head.Scan(head); err != nil {
		return err
	}
	if err := d.resp.Read(&d.head, x.method); err != nil {
		return err
	}
	if d.resp.Framing.By != wire.ByClose {
		_, _, err := e.withhold(x, "the server closed the connection in the middle of its response", nil, out)
		return err
	}
	if err := e.passHead(x, asJSON, out); err != nil {
		return err
	}
	e.beginBody(x, asJSON, out)
	return nil
}
