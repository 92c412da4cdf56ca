package record

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// Entry is one entry of a tape.
type Entry struct {
	Kind  Kind
	After time.Duration // since the tape's Start
	Body  []byte        // valid until the next call
}

// TapeReader reads a tape from its start. It may still be written to.
type TapeReader struct {
	Start time.Time

	src  io.ReaderAt
	in   *bufio.Reader
	off  int64 // of the next entry
	body []byte
}

// ErrTorn is what a tape ends with that was cut, or changed, in the middle of an entry.
var ErrTorn = errors.New("the tape is torn here")

// Close closes the tape's file.
func (t *TapeReader) Close() error {
	if c, ok := t.src.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func newTapeReader(src io.ReaderAt) (*TapeReader, error) {
	var head [tapeHead]byte
	if _, err := src.ReadAt(head[:], 0); err != nil {
		return nil, torn(err)
	}
	if string(head[:8]) != tapeMagic {
		return nil, fmt.Errorf("read tape head: %w", ErrTorn)
	}
	t := &TapeReader{src: src, Start: time.Unix(0, int64(binary.LittleEndian.Uint64(head[8:]))).UTC()}
	t.seek(tapeHead)
	return t, nil
}

func (t *TapeReader) seek(off int64) {
	t.off = off
	t.in = bufio.NewReaderSize(io.NewSectionReader(t.src, off, 1<<62), 32<<10)
}

// Next reads the next entry. io.EOF means the end, for now: when the session is
// still open, Next may be called again later. ErrTorn means that what follows is not a whole entry, which
// on an open tape can pass, and on an ended one cannot.
func (t *TapeReader) Next() (Entry, error) {
	e, err := t.next()
	if err != nil {
		// What was read ahead of a moving end may be old by now: look again.
		t.seek(t.off)
		e, err = t.next()
	}
	if err != nil {
		t.seek(t.off)
		return Entry{}, err
	}
	t.off += int64(frameHead + len(e.Body))
	return e, nil
}

// Offset is where the next entry starts, in bytes from the start of the file.
func (t *TapeReader) Offset() int64 { return t.off }

func (t *TapeReader) next() (Entry, error) {
	var head [frameHead]byte
	n, err := io.ReadFull(t.in, head[:])
	if n == 0 && errors.Is(err, io.EOF) {
		return Entry{}, io.EOF
	}
	if n >= 4 && binary.LittleEndian.Uint32(head[:]) == 0 {
		return Entry{}, io.EOF
	}
	length := binary.LittleEndian.Uint32(head[:])
	if err != nil {
		return Entry{}, torn(err)
	}
	if length < 9 || length > 9+MaxBody {
		return Entry{}, ErrTorn
	}
	if err := t.read(int(length - 9)); err != nil {
		return Entry{}, torn(err)
	}
	crc := crc32.Update(0, castagnoli, head[:4])
	crc = crc32.Update(crc, castagnoli, head[8:])
	if crc32.Update(crc, castagnoli, t.body) != binary.LittleEndian.Uint32(head[4:]) {
		return Entry{}, ErrTorn
	}
	after := time.Duration(min(binary.LittleEndian.Uint64(head[9:]), 1<<62))
	return Entry{Kind: Kind(head[8]), After: after, Body: t.body}, nil
}

// torn makes ErrTorn of an end that comes too early; "could not read" stays what it is.
func torn(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTorn
	}
	return fmt.Errorf("read tape: %w", err)
}

// read fills body with n bytes, growing as they come: a false length costs no memory.
func (t *TapeReader) read(n int) error {
	t.body = t.body[:0]
	for len(t.body) < n {
		part := min(n-len(t.body), 64<<10)
		at := len(t.body)
		t.body = append(t.body, make([]byte, part)...)
		if _, err := io.ReadFull(t.in, t.body[at:]); err != nil {
			return err
		}
	}
	return nil
}
