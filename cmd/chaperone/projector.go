package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor"
	httpx "github.com/chaperone-dev/chaperone/interceptor/http"
	"github.com/chaperone-dev/chaperone/interceptor/postgres"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/record"
)

// projector makes exchanges of a tape's entries.
type projector struct {
	start time.Time
	reel  reel
	notes map[string]interceptor.TapeNote // by request text: what was decided last
	ended bool
}

// reel reads one protocol's streams.
type reel interface {
	add(kind interceptor.TapeKind, body []byte, at time.Time) ([]exchange, error)
	end() []exchange
}

func newProjector(protocol string, start time.Time) *projector {
	p := &projector{start: start, notes: map[string]interceptor.TapeNote{}}
	switch protocol {
	case "postgres":
		p.reel = &statements{renderer: postgres.NewRenderer(), start: start}
	case "http":
		p.reel = &messages{start: start}
	default:
		p.reel = &traffic{start: start}
	}
	return p
}

func (p *projector) over() bool { return p.ended }

func (p *projector) add(e record.Entry) ([]exchange, error) {
	switch e.Kind {
	case record.KindEnd:
		p.ended = true
	case record.KindVerdict:
		var note interceptor.TapeNote
		if err := json.Unmarshal(e.Body, &note); err != nil {
			return nil, fmt.Errorf("read a verdict: %w", err)
		}
		if note.Request != nil {
			p.notes[note.Request.Text] = note
		}
	}
	list, err := p.reel.add(interceptor.TapeKind(e.Kind), e.Body, p.start.Add(e.After))
	return p.annotate(list), err
}

func (p *projector) end() []exchange { return p.annotate(p.reel.end()) }

// annotate adds what was decided, where it was more than a plain allow.
func (p *projector) annotate(list []exchange) []exchange {
	for i := range list {
		n, ok := p.notes[list[i].Request]
		if ok && (n.Verdict.Verdict != flow.Allow || n.Ask != "") {
			list[i].Verdict, list[i].Rule, list[i].Ask = string(n.Verdict.Verdict), n.Verdict.Rule, n.Ask
		}
	}
	return list
}

// statements reads PostgreSQL.
type statements struct {
	renderer *postgres.Renderer
	start    time.Time
}

func (s *statements) add(kind interceptor.TapeKind, body []byte, at time.Time) ([]exchange, error) {
	return s.exchanges(s.renderer.Feed(kind, body, at)), nil
}

func (s *statements) end() []exchange { return s.exchanges(s.renderer.Flush()) }

func (s *statements) exchanges(list []postgres.Rendered) []exchange {
	var found []exchange
	for _, r := range list {
		x := exchange{
			At: r.Time.Sub(s.start), Took: r.Duration, Request: r.Statement, Parameters: r.Parameters,
			Columns: r.Columns, Rows: r.Rows, More: r.More, Notices: r.Notices, Outcome: r.Tag, Error: r.Error, Omitted: r.Omitted > 0,
		}
		if r.Error != nil {
			x.Outcome = "failed"
		}
		if r.Copied > 0 {
			x.Outcome += fmt.Sprintf(" (%d bytes copied)", r.Copied)
		}
		found = append(found, x)
	}
	return found
}

// messages reads HTTP: requests and responses come in the same order.
type messages struct {
	render httpx.Render
	times  []time.Time // of each entry
	start  time.Time
}

func (m *messages) add(kind interceptor.TapeKind, body []byte, at time.Time) ([]exchange, error) {
	m.times = append(m.times, at)
	return nil, m.render.Add(kind, body)
}

// end pairs them up, now that all are there.
func (m *messages) end() []exchange {
	var list []exchange
	next := 0
	for _, msg := range m.render.Messages {
		at := m.times[min(max(msg.Entry-1, 0), len(m.times)-1)]
		if msg.Direction == interceptor.Up {
			method, rest, _ := strings.Cut(msg.Start, " ")
			target, _, _ := strings.Cut(rest, " ")
			list = append(list, exchange{At: at.Sub(m.start), Request: method + " " + target, Omitted: msg.Omitted})
			continue
		}
		if next == len(list) {
			list = append(list, exchange{At: at.Sub(m.start), Request: "(no request on the tape)"})
		}
		x := &list[next]
		x.Outcome, x.Took, x.Body, x.Omitted = msg.Start, at.Sub(m.start)-x.At, string(msg.Body), x.Omitted || msg.Omitted
		if final(msg.Start) {
			next++
		}
	}
	return list
}

// final says that a status line is not one of those that announce another (1xx).
func final(start string) bool {
	_, status, _ := strings.Cut(start, " ")
	return !strings.HasPrefix(status, "1") || strings.HasPrefix(status, "101")
}

// traffic counts what is not understood.
type traffic struct {
	start    time.Time
	up, down int
	last     time.Time
}

func (c *traffic) add(kind interceptor.TapeKind, body []byte, at time.Time) ([]exchange, error) {
	c.last = at
	switch kind {
	case interceptor.TapeUp:
		c.up += len(body)
	case interceptor.TapeDown:
		c.down += len(body)
	case interceptor.TapeOmitted:
		var o struct {
			Direction string `json:"direction"`
			Bytes     int    `json:"bytes"`
		}
		if err := json.Unmarshal(body, &o); err != nil {
			return nil, fmt.Errorf("read an omission: %w", err)
		}
		if o.Direction == interceptor.Up.String() {
			c.up += o.Bytes
		} else {
			c.down += o.Bytes
		}
	}
	return nil, nil
}

func (c *traffic) end() []exchange {
	if c.last.IsZero() {
		c.last = c.start
	}
	return []exchange{{Request: "connect", Took: c.last.Sub(c.start), Outcome: fmt.Sprintf("%d bytes up, %d bytes down", c.up, c.down)}}
}
