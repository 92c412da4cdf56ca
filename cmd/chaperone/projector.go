package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/record"
)

// projector makes exchanges of a tape's entries.
type projector struct {
	start time.Time
	reel  reel
	ended bool
	took  time.Duration // from start to end
	with  string        // outcome
}

// reel reads one protocol's streams.
type reel interface {
	add(kind interceptor.TapeKind, body []byte, at time.Time) ([]exchange, error)
	end() []exchange
}

// newProjector makes one; split gives long results in pieces.
func newProjector(protocol string, start time.Time, split bool) *projector {
	p := &projector{start: start}
	switch protocol {
	case "postgres":
		r := postgres.NewRenderer()
		r.Split = split
		p.reel = &statements{renderer: r, start: start, notes: notes{}}
	case "http":
		p.reel = &messages{start: start, notes: map[int]interceptor.TapeNote{}}
	default:
		p.reel = &traffic{start: start, notes: notes{}}
	}
	return p
}

func (p *projector) over() bool { return p.ended }

func (p *projector) add(e record.Entry) ([]exchange, error) {
	if e.Kind == record.KindEnd {
		if err := p.sealed(e); err != nil {
			return nil, err
		}
	}
	return p.reel.add(interceptor.TapeKind(e.Kind), e.Body, p.start.Add(e.After))
}

// sealed notes how the session ended.
func (p *projector) sealed(e record.Entry) error {
	var how struct {
		Outcome string `json:"outcome"`
	}
	if err := json.Unmarshal(e.Body, &how); err != nil {
		return fmt.Errorf("read the end: %w", err)
	}
	p.ended, p.took, p.with = true, e.After, how.Outcome
	return nil
}

// end gives what is left: of a session that is over, with what it was cut off by.
func (p *projector) end() []exchange {
	list := p.reel.end()
	for i := range list {
		if x := &list[i]; p.ended && x.Outcome == "" {
			x.Unanswered, x.Outcome, x.Took = true, p.with, max(0, flow.Span(p.took)-x.At)
		}
	}
	return list
}

// notes are what was decided last, by the request's text.
type notes map[string]interceptor.TapeNote

func (n notes) take(kind interceptor.TapeKind, body []byte) error {
	if kind != interceptor.TapeVerdict {
		return nil
	}
	note, err := noteOf(body)
	if err == nil && note.Request != nil {
		n[note.Request.Text] = note
	}
	return err
}

func noteOf(body []byte) (note interceptor.TapeNote, err error) {
	if err := json.Unmarshal(body, &note); err != nil {
		return note, fmt.Errorf("read a verdict: %w", err)
	}
	return note, nil
}

// annotate adds what was decided.
func (n notes) annotate(list []exchange) []exchange {
	for i := range list {
		list[i].decided(n[list[i].Request])
	}
	return list
}

// decided adds a decision, where it was more than a plain allow.
func (x *exchange) decided(n interceptor.TapeNote) {
	if n.Verdict.Verdict != "" && (n.Verdict.Verdict != flow.Allow || n.Ask != "") {
		x.Verdict, x.Rule, x.Ask = string(n.Verdict.Verdict), n.Verdict.Rule, n.Ask
	}
}

// statements reads PostgreSQL.
type statements struct {
	renderer *postgres.Renderer
	start    time.Time
	notes    notes
}

func (s *statements) add(kind interceptor.TapeKind, body []byte, at time.Time) ([]exchange, error) {
	if err := s.notes.take(kind, body); err != nil {
		return nil, err
	}
	return s.exchanges(s.renderer.Feed(kind, body, at)), nil
}

func (s *statements) end() []exchange { return s.exchanges(s.renderer.Flush()) }

func (s *statements) exchanges(list []postgres.Rendered) []exchange {
	var found []exchange
	for _, r := range list {
		x := exchange{
			At: flow.Span(r.Time.Sub(s.start)), Took: flow.Span(r.Duration), Request: r.Statement, Parameters: r.Parameters,
			Columns: r.Columns, Rows: r.Rows, Lines: r.Lines, More: r.More, Continued: r.Continued, Notices: r.Notices, Outcome: r.Tag, Error: r.Error, Omitted: r.Omitted > 0,
		}
		if len(r.Sent)+r.SentMore > 0 {
			x.Sent = &content{Lines: r.Sent, More: r.SentMore}
		}
		if r.Error != nil {
			x.Outcome = "failed"
		}
		if r.Copied > 0 && !r.Continued {
			x.Outcome += fmt.Sprintf(" (%d bytes copied)", r.Copied)
		}
		found = append(found, x)
	}
	return s.notes.annotate(found)
}

// traffic counts what is not understood.
type traffic struct {
	start    time.Time
	up, down int
	last     time.Time
	notes    notes
}

func (c *traffic) add(kind interceptor.TapeKind, body []byte, at time.Time) ([]exchange, error) {
	c.last = at
	if err := c.notes.take(kind, body); err != nil {
		return nil, err
	}
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
	return c.notes.annotate([]exchange{{Request: "connect", Took: flow.Span(c.last.Sub(c.start)), Outcome: fmt.Sprintf("%d bytes up, %d bytes down", c.up, c.down)}})
}
