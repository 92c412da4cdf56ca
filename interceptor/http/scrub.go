package http

import (
	"github.com/chaperone-dev/chaperone/interceptor/http/wire"
	"github.com/chaperone-dev/chaperone/rules"
)

// scrubber hides what is to be hidden in one body, piece by piece. It appends
// what may pass to dst and keeps, bounded, what it cannot decide yet.
type scrubber interface {
	write(dst, in []byte) ([]byte, error)
	close(dst []byte) ([]byte, error)
}

// The faults of a body that is scrubbed. The response ends in the middle then.
const (
	errJSON     = wire.Fault("fields are masked here and the body is not JSON")
	errJSONDeep = wire.Fault("fields are masked here and the body's JSON is nested too deeply")
	errJSONKey  = wire.Fault("fields are masked here and the body's JSON has a key that is too long")
	errCharset  = wire.Fault("values are masked here and the body's charset is not one that can be read")
	errText     = wire.Fault("a value to be masked is longer than can be held back")
)

// newScrubber makes the scrubber for a body; it counts what it masks.
func (e *Engine) newScrubber(masks *rules.Masks, how passage) scrubber {
	count := func(n int) { e.session.Meter.Masked(e.session.Flow.Identity, e.session.Flow.Target, n) }
	set, with := masks.Detectors()
	switch how {
	case asJSON:
		return newJSONScrubber(masks.JSON(), set, with, count)
	case asText:
		return &textScrubber{set: set, with: with, count: count, whole: true}
	case untrailed:
		return whole{}
	}
	return nothing{}
}

// whole passes a body as it is.
type whole struct{}

func (whole) write(dst, in []byte) ([]byte, error) { return append(dst, in...), nil }
func (whole) close(dst []byte) ([]byte, error)     { return dst, nil }

// nothing passes nothing of a body.
type nothing struct{}

func (nothing) write(dst, _ []byte) ([]byte, error) { return dst, nil }
func (nothing) close(dst []byte) ([]byte, error)    { return dst, nil }
