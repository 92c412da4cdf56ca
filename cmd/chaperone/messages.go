package main

import (
	"strings"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor"
	httpx "github.com/chaperone-dev/chaperone/interceptor/http"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// messages reads HTTP: requests and responses come in the same order.
type messages struct {
	render httpx.Render
	times  []time.Time                  // of each entry
	notes  map[int]interceptor.TapeNote // by entry: a request's stands right before it
	start  time.Time
}

func (m *messages) add(kind interceptor.TapeKind, body []byte, at time.Time) ([]exchange, error) {
	m.times = append(m.times, at)
	if kind == interceptor.TapeVerdict {
		note, err := noteOf(body)
		if err != nil {
			return nil, err
		}
		m.notes[len(m.times)] = note
	}
	return nil, m.render.Add(kind, body)
}

// end pairs them up, now that all are there.
func (m *messages) end() []exchange {
	var list []exchange
	next := 0
	for _, msg := range m.render.Messages {
		at := m.times[min(max(msg.Entry-1, 0), len(m.times)-1)]
		if msg.Direction == interceptor.Up {
			list = append(list, m.asked(msg, at))
			continue
		}
		if next == len(list) {
			list = append(list, exchange{At: flow.Span(at.Sub(m.start)), Request: "(no request on the tape)"})
		}
		x := &list[next]
		x.Outcome, x.Took, x.Omitted = msg.Start, flow.Span(at.Sub(m.start))-x.At, x.Omitted || msg.Omitted
		x.Headers, x.Body, x.Longer = msg.Fields, string(msg.Body), longer(msg)
		if final(msg.Start) {
			next++
		}
	}
	return list
}

// asked is an exchange's beginning.
func (m *messages) asked(msg *httpx.Rendered, at time.Time) exchange {
	method, rest, _ := strings.Cut(msg.Start, " ")
	target, _, _ := strings.Cut(rest, " ")
	x := exchange{At: flow.Span(at.Sub(m.start)), Request: method + " " + target, Omitted: msg.Omitted}
	if len(msg.Fields)+len(msg.Body) > 0 {
		x.Sent = &content{Headers: msg.Fields, Body: string(msg.Body), Longer: longer(msg)}
	}
	x.decided(m.notes[msg.Entry-1])
	return x
}

// longer is how many recorded bytes of a body are not shown.
func longer(msg *httpx.Rendered) int64 {
	if msg.Omitted {
		return 0
	}
	return msg.Bytes - int64(len(msg.Body))
}

// final says that a status line is not one of those that announce another (1xx).
func final(start string) bool {
	_, status, _ := strings.Cut(start, " ")
	return !strings.HasPrefix(status, "1") || strings.HasPrefix(status, "101")
}
