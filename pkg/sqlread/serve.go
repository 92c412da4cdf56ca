package sqlread

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// The child's two pipes carry frames: a big-endian uint32 length, then that many
// bytes. A request is a text, an answer is JSON. The first answer is the greeting,
// sent when the child has confined itself.
const (
	greeting  = "ready"
	maxFrame  = 64 << 20 // bytes
	maxAnswer = 64 << 20
)

// answer is what the child says of a text. What can be told without the C parser
// (redaction, fingerprint) the asker does itself.
type answer struct {
	Statements []Statement `json:"s,omitempty"`
	Shape      string      `json:"f,omitempty"`
	Unread     string      `json:"u,omitempty"`
}

// Serve is the child: it gives up every right it has, then reads texts from r and
// answers on w until r ends. It is what the hidden verb of the binary runs, with standard
// input and output; it returns nil at the end of r. It confines the whole process and
// cannot be undone.
func Serve(r io.Reader, w io.Writer) error {
	if err := confine(); err != nil {
		return fmt.Errorf("confine the reader: %w", err)
	}
	return serve(r, w)
}

func serve(r io.Reader, w io.Writer) error {
	in := bufio.NewReader(r)
	if err := writeFrame(w, []byte(greeting)); err != nil {
		return err
	}
	for {
		text, err := readFrame(in, maxFrame)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		out, err := json.Marshal(reply(string(text)))
		if err != nil {
			return fmt.Errorf("encode a reading: %w", err)
		}
		if err := writeFrame(w, out); err != nil {
			return err
		}
	}
}

// reply reads one text. A panic in the tree's reading is the text's fault.
func reply(text string) (a answer) {
	defer func() {
		if recover() != nil {
			a = answer{Statements: []Statement{opaque()}, Unread: "reading it failed"}
		}
	}()
	a.Statements, a.Unread = statements(text)
	if a.Unread == "" {
		a.Shape = shape(text)
	}
	return a
}

// reading completes an answer.
func (a answer) reading(text string) *Reading {
	return &Reading{
		Statements:  a.Statements,
		Redacted:    Redact(text),
		Fingerprint: fingerprint(text),
		Shape:       a.Shape,
		Unread:      a.Unread,
		Changes:     a.Unread != "" || changes(a.Statements),
	}
}

// writeFrame sends one frame in one write.
func writeFrame(w io.Writer, body []byte) error {
	frame := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	if _, err := w.Write(append(frame, body...)); err != nil {
		return fmt.Errorf("write a frame: %w", err)
	}
	return nil
}

// readFrame reads one frame of at most most bytes; io.EOF before its first byte.
func readFrame(r io.Reader, most int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("read a frame: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > uint32(most) {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, fmt.Errorf("read a frame of %d bytes: %w", n, err)
	}
	return body, nil
}
