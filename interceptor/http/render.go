package http

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/http/wire"
)

// maxRendered is how much of a body a rendering shows, in bytes.
const maxRendered = 64 << 10

// Rendered is one message of a recorded conversation, in the order it was recorded.
type Rendered struct {
	Direction interceptor.Direction `json:"-"`
	Start     string                `json:"start"` // request or status line
	Fields    []string              `json:"fields,omitempty"`
	Body      []byte                `json:"body,omitempty"` // decoded from chunks, at most 64 KiB
	Bytes     int64                 `json:"bytes"`          // of the body, recorded or not
	Omitted   bool                  `json:"omitted,omitempty"`
	Complete  bool                  `json:"complete"`
	Entry     int                   `json:"entry"` // number of the Add that brought its first byte
}

// Render puts a tape of this protocol together again. Entries are added in
// order; a tape may end anywhere.
type Render struct {
	Messages []*Rendered

	entry   int
	halves  [2]rendering
	methods []wire.Method // of requests without a response yet
}

type rendering struct {
	unread []byte
	head   wire.Head
	body   wire.Body
	open   *Rendered // its body is being read
	raw    bool      // what follows is not HTTP
}

// Add takes one tape entry. Kinds other than the streams and what was left out of them are passed over.
func (r *Render) Add(kind interceptor.TapeKind, body []byte) error {
	r.entry++
	switch kind {
	case interceptor.TapeUp:
		return r.stream(interceptor.Up, body)
	case interceptor.TapeDown:
		return r.stream(interceptor.Down, body)
	case interceptor.TapeOmitted:
		return r.omitted(body)
	}
	return nil
}

// omitted accounts for body bytes that were not recorded.
func (r *Render) omitted(body []byte) error {
	var note struct {
		Direction string `json:"direction"`
		Bytes     int64  `json:"bytes"`
	}
	if err := json.Unmarshal(body, &note); err != nil {
		return fmt.Errorf("read an omission: %w", err)
	}
	dir := interceptor.Up
	if note.Direction == interceptor.Down.String() {
		dir = interceptor.Down
	}
	half := &r.halves[dir]
	if half.open == nil {
		return nil
	}
	half.open.Omitted = true
	half.open.Bytes += note.Bytes
	return nil
}

func (r *Render) stream(dir interceptor.Direction, b []byte) error {
	half := &r.halves[dir]
	half.unread = append(half.unread, b...)
	for len(half.unread) > 0 {
		n, err := r.step(dir, half)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		half.unread = half.unread[n:]
	}
	return nil
}

// step reads a piece of a body, or a whole head.
func (r *Render) step(dir interceptor.Direction, half *rendering) (int, error) {
	if half.raw {
		half.open.take(half.unread)
		return len(half.unread), nil
	}
	// A body that was left out is over where the next head begins.
	if half.open != nil && !half.open.Omitted {
		return half.content()
	}
	size, err := half.head.Scan(half.unread)
	if err != nil {
		return 0, fmt.Errorf("read a recorded %s head: %w", dir, err)
	}
	if size == 0 {
		return 0, nil
	}
	return size, r.begin(dir, half)
}

func (h *rendering) content() (int, error) {
	n, content, err := h.body.Next(h.unread)
	if err != nil {
		return 0, fmt.Errorf("read a recorded body: %w", err)
	}
	h.open.take(content)
	if h.body.Done() {
		h.open.Complete, h.open = true, nil
	}
	return n, nil
}

// begin starts a message with its head.
func (r *Render) begin(dir interceptor.Direction, half *rendering) error {
	m := &Rendered{Direction: dir, Start: string(half.head.Start), Entry: r.entry}
	for _, f := range half.head.Fields {
		m.Fields = append(m.Fields, string(f.Name)+": "+string(f.Value))
	}
	if half.open != nil {
		half.open.Complete = true
	}
	framing, raw, err := r.framing(dir, half)
	if err != nil {
		return err
	}
	half.body.Begin(framing)
	half.open = m
	r.Messages = append(r.Messages, m)
	if raw {
		r.halves[interceptor.Up].leave(r.lastRequest())
		r.halves[interceptor.Down].leave(m)
		return nil
	}
	if half.body.Done() {
		m.Complete, half.open = true, nil
	}
	return nil
}

func (h *rendering) leave(into *Rendered) {
	h.raw, h.open = true, into
}

// lastRequest is the request that left HTTP.
func (r *Render) lastRequest() *Rendered {
	for i := len(r.Messages) - 1; i >= 0; i-- {
		if r.Messages[i].Direction == interceptor.Up {
			return r.Messages[i]
		}
	}
	return &Rendered{}
}

// framing finds how a recorded message's body ends; raw says that the connection left HTTP.
func (r *Render) framing(dir interceptor.Direction, half *rendering) (f wire.Framing, raw bool, err error) {
	if dir == interceptor.Up {
		var req wire.Request
		if err := req.Read(&half.head); err != nil {
			return f, false, fmt.Errorf("read a recorded request: %w", err)
		}
		r.methods = append(r.methods, wire.MethodOf(req.Method))
		return req.Framing, false, nil
	}
	method := wire.OtherMethod
	if len(r.methods) > 0 {
		method = r.methods[0]
	}
	var resp wire.Response
	if err := resp.Read(&half.head, method); err != nil {
		return f, false, fmt.Errorf("read a recorded response: %w", err)
	}
	if resp.Status >= 200 && len(r.methods) > 0 {
		r.methods = r.methods[1:]
	}
	raw = resp.Status == 101 || method == wire.ConnectMethod && resp.Status/100 == 2
	return resp.Framing, raw, nil
}

// take adds to a body, up to what is shown.
func (m *Rendered) take(b []byte) {
	m.Bytes += int64(len(b))
	m.Body = append(m.Body, b[:min(len(b), maxRendered-len(m.Body))]...)
}

// WriteTo writes the conversation for a person: requests with ">", responses with "<".
// Control characters are written as escapes, for a terminal is not theirs to drive.
func (r *Render) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	for _, m := range r.Messages {
		m.write(&b)
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

func (m *Rendered) write(b *strings.Builder) {
	sign := "> "
	if m.Direction == interceptor.Down {
		sign = "< "
	}
	b.WriteString(sign + harmless(m.Start) + "\n")
	for _, f := range m.Fields {
		b.WriteString(sign + harmless(f) + "\n")
	}
	switch {
	case m.Omitted:
		b.WriteString(sign + "(" + strconv.FormatInt(m.Bytes, 10) + " bytes not recorded)\n")
	case len(m.Body) > 0:
		b.WriteString("\n" + harmless(string(m.Body)) + "\n")
		if m.Bytes > int64(len(m.Body)) {
			b.WriteString("(" + strconv.FormatInt(m.Bytes-int64(len(m.Body)), 10) + " bytes more)\n")
		}
	}
	b.WriteString("\n")
}

// harmless escapes what a terminal would obey.
func harmless(s string) string {
	plain := func(c rune) bool { return c == '\n' || c == '\t' || strconv.IsPrint(c) }
	if strings.IndexFunc(s, func(c rune) bool { return !plain(c) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if plain(c) {
			b.WriteRune(c)
			continue
		}
		quoted := strconv.QuoteRuneToASCII(c)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}
