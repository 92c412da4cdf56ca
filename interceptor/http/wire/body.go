package wire

import "bytes"

// The faults of a body.
const (
	ErrChunkSize = Fault("a chunk size is malformed or too large")
	ErrChunkExt  = Fault("chunk extensions are malformed or too long")
	ErrChunkEnd  = Fault("a chunk does not end where its size says")
	ErrTrailer   = Fault("the trailer is malformed or too long")
)

// Bounds of chunked framing, in bytes.
const (
	maxExt     = 256     // of one chunk
	maxTrailer = 8 << 10 // of all trailer fields
)

// Body walks over a body's bytes as they come.
//
//	chunked:  size [;ext] CRLF  data CRLF  ...  0 CRLF  [trailer CRLF ...]  CRLF
//
// States go from top to bottom, and from chunkEnd back to sizeFirst.
type Body struct {
	by    Delimiter
	state bodyState
	left  int64 // of the length, or of the chunk
	count int   // of digits, extension or trailer bytes
	name  int   // of the trailer field, -1 after its colon
	begun [24]byte
}

type bodyState uint8

const (
	sizeFirst bodyState = iota
	sizeMore
	ext
	sizeLF
	data
	dataCR
	dataLF
	trailerFirst
	trailerLine
	trailerLF
	lastLF
	done
)

// Begin starts a body.
func (b *Body) Begin(f Framing) {
	*b = Body{by: f.By, left: f.Length}
	switch f.By {
	case Empty:
		b.state = done
	case ByLength, ByClose:
		b.state = data
	}
}

// Done says that the body is complete. A body that ends with its connection never is.
func (b *Body) Done() bool { return b.state == done }

// Next consumes the next piece of in: n bytes, of which content is what
// belongs to the body itself (nil for framing). n is 0 only when in is empty or the body done.
func (b *Body) Next(in []byte) (n int, content []byte, err error) {
	if len(in) == 0 || b.state == done {
		return 0, nil, nil
	}
	if b.state == data {
		return b.data(in)
	}
	for n < len(in) && b.state != data && b.state != done {
		if err := b.frame(in[n]); err != nil {
			return n, nil, err
		}
		n++
	}
	return n, nil, nil
}

// Span consumes all of in that belongs to the body.
func (b *Body) Span(in []byte) (n int, err error) {
	for n < len(in) && b.state != done {
		k, _, err := b.Next(in[n:])
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (b *Body) data(in []byte) (int, []byte, error) {
	if b.by == ByClose {
		return len(in), in, nil
	}
	n := int(min(int64(len(in)), b.left))
	b.left -= int64(n)
	if b.left == 0 {
		b.state = done
		if b.by == ByChunks {
			b.state = dataCR
		}
	}
	return n, in[:n:n], nil
}

// frame moves the chunked state machine by one byte.
func (b *Body) frame(c byte) error {
	switch b.state {
	case sizeFirst, sizeMore:
		return b.size(c)
	case ext:
		return b.ext(c)
	case sizeLF:
		return b.expect(c, '\n', b.afterSize(), ErrChunkExt)
	case dataCR:
		return b.expect(c, '\r', dataLF, ErrChunkEnd)
	case dataLF:
		b.count = 0
		return b.expect(c, '\n', sizeFirst, ErrChunkEnd)
	case lastLF:
		return b.expect(c, '\n', done, ErrTrailer)
	}
	return b.trailer(c)
}

func (b *Body) expect(c, want byte, next bodyState, fault Fault) error {
	if c != want {
		return fault
	}
	b.state = next
	return nil
}

func (b *Body) size(c byte) error {
	digit := hex(c)
	switch {
	case digit >= 0 && b.count < 15: // fits an int64
		b.left = b.left<<4 | int64(digit)
		b.state = sizeMore
		b.count++
		return nil
	case b.state == sizeFirst:
		return ErrChunkSize
	case c == ';':
		b.state, b.count = ext, 0
		return nil
	}
	b.count = 0
	return b.expect(c, '\r', sizeLF, ErrChunkSize)
}

func (b *Body) ext(c byte) error {
	if c == '\r' {
		b.state, b.count = sizeLF, 0
		return nil
	}
	if b.count++; b.count > maxExt || c < ' ' && c != '\t' || c == 0x7f {
		return ErrChunkExt
	}
	return nil
}

func (b *Body) afterSize() bodyState {
	if b.left == 0 {
		b.count = 0
		return trailerFirst
	}
	return data
}

// trailer reads trailer fields. A field that frames or routes a message may not
// stand there (RFC 9110 6.5.1): some servers would believe it.
func (b *Body) trailer(c byte) error {
	if b.count++; b.count > maxTrailer {
		return ErrTrailer
	}
	switch {
	case b.state == trailerFirst && c == '\r':
		b.state = lastLF
		return nil
	case b.state == trailerLF:
		b.name = 0
		return b.expect(c, '\n', trailerFirst, ErrTrailer)
	case b.state == trailerFirst:
		b.state, b.name = trailerLine, 0
	case c == '\r':
		b.state = trailerLF
		if b.name >= 0 {
			return ErrTrailer // no colon in the line
		}
		return nil
	}
	if b.name >= 0 {
		return b.trailerName(c)
	}
	if c < ' ' && c != '\t' || c == 0x7f {
		return ErrTrailer
	}
	return nil
}

func (b *Body) trailerName(c byte) error {
	if c == ':' {
		name := b.begun[:min(b.name, len(b.begun))]
		if b.name == 0 || b.name == len(name) && belongsInHead(name) {
			return ErrTrailer
		}
		b.name = -1
		return nil
	}
	if !tokenChar(c) {
		return ErrTrailer
	}
	if b.name < len(b.begun) {
		b.begun[b.name] = c
	}
	b.name++
	return nil
}

// belongsInHead says that a field steers, or is a credential: where a server merges trailer
// fields into the head, nobody would have judged it.
func belongsInHead(name []byte) bool {
	name = bytes.ReplaceAll(name, []byte{'_'}, []byte{'-'})
	return equalFold(name, "authorization") || equalFold(name, "cookie") || steers(name)
}

func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
