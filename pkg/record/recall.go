package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// recall finds the sessions that have not ended. Every segment but the first
// starts with a checkpoint that names them, unless a crash came before it could: then the segments
// before it tell. Damaged places are passed over.
func (l *hostLog) recall(list []segment) error {
	from := len(list) - 1
	for ; from > 0; from-- {
		names := false
		err := eachPayload(list[from], func(payload []byte) { names = names || isType(payload, Checkpointed) })
		if err != nil {
			return err
		}
		if names {
			break
		}
	}
	clear(l.open)
	for _, s := range list[from:] {
		if err := eachPayload(s, l.remember); err != nil {
			return err
		}
	}
	return nil
}

// remember keeps track of the sessions that have not ended, and of how many
// entries no checkpoint vouches for.
func (l *hostLog) remember(payload []byte) {
	l.since++
	if isType(payload, Checkpointed) {
		l.since = 0
		if c, err := checkpointOf(payload); err == nil {
			for _, tape := range c.Open {
				l.open[sessionOf(tape)] = tape
			}
		}
		return
	}
	if !isType(payload, "session.") {
		return
	}
	var ev flow.Event
	if json.Unmarshal(payload, &ev) != nil {
		return
	}
	switch ev.Type {
	case flow.SessionStarted:
		l.open[ev.Session], _ = ev.Result["tape"].(string)
	case flow.SessionEnded:
		delete(l.open, ev.Session)
	}
}

// eachPayload visits every well-formed entry of a segment.
func eachPayload(s segment, visit func(payload []byte)) error {
	r, err := openSegment(s)
	if _, damaged := errors.AsType[problem](err); damaged {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.close()
	for {
		e, err := r.next()
		if err == nil {
			visit(e.payload)
			continue
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if _, damaged := errors.AsType[problem](err); !damaged {
			return fmt.Errorf("read %s: %w", s.name(), err)
		}
		if found, err := r.resync(); err != nil || !found {
			return err
		}
	}
}
