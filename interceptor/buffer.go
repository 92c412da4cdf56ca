package interceptor

import "net"

// Buffer sizes in bytes. A lane starts small (idle connections are many), and
// grows when a read fills the buffer; MaxBuffer is for engines that wait for a
// whole message.
const (
	smallBuffer = 8 << 10
	readBuffer  = 128 << 10
	patience    = 64 // small reads in a row after which a large buffer is given back
)

// buffer holds the unread bytes of one lane.
type buffer struct {
	data   []byte
	start  int // first unread byte
	end    int
	filled bool // the last read left no space: the peer is faster than we are
	idle   int
}

// unread is what was read and not consumed.
func (b *buffer) unread() []byte { return b.data[b.start:b.end:b.end] }

// load puts bytes that were read elsewhere in front.
func (b *buffer) load(p []byte) {
	b.data = append([]byte(nil), p...)
	b.start, b.end = 0, len(p)
}

// space is where the next read goes; it is never empty.
func (b *buffer) space() []byte {
	if b.start == b.end {
		b.start, b.end = 0, 0
		b.resize()
	}
	if left := len(b.data) - b.end; left == 0 || b.start > 0 && left < len(b.data)/4 {
		b.makeRoom(b.roomier())
	}
	return b.data[b.end:]
}

// resize picks the size for an empty buffer from how full the last reads were.
func (b *buffer) resize() {
	switch {
	case len(b.data) == 0:
		b.data = make([]byte, smallBuffer)
	case b.filled && len(b.data) < readBuffer:
		b.data = make([]byte, min(4*len(b.data), readBuffer))
	case b.idle > patience && len(b.data) > smallBuffer:
		b.data, b.idle = make([]byte, smallBuffer), 0
	}
}

// roomier is the size for a full buffer. An engine that leaves the beginning of a message each
// time never empties it, and would read a fast peer in small pieces for ever.
func (b *buffer) roomier() int {
	if b.filled && len(b.data) < readBuffer {
		return min(4*len(b.data), readBuffer)
	}
	return len(b.data)
}

// makeRoom moves the unread bytes to the front, of a larger array if need be.
func (b *buffer) makeRoom(size int) {
	have := b.end - b.start
	if have*2 > size {
		size = max(2*size, smallBuffer)
	}
	data := b.data
	if size > len(data) {
		data = make([]byte, size)
	}
	copy(data, b.data[b.start:b.end])
	b.data, b.start, b.end = data, 0, have
}

// grow says whether more unread bytes may be piled up.
func (b *buffer) grow() bool { return b.end-b.start < MaxBuffer }

// add notes that n bytes were read into space.
func (b *buffer) add(n int) {
	b.end += n
	b.filled = b.end == len(b.data)
	b.idle++
	if n > smallBuffer/2 {
		b.idle = 0
	}
}

func (b *buffer) consume(n int) { b.start += n }

// writer writes an Output in one system call.
type writer struct {
	scratch []byte
	gather  net.Buffers
}

// joinUpTo is the size in bytes up to which parts are copied together rather than gathered.
const joinUpTo = 16 << 10

func (w *writer) write(dst net.Conn, out *Output) error {
	parts := out.Parts()
	if len(parts) == 1 {
		_, err := dst.Write(parts[0])
		return err
	}
	if out.Size() <= joinUpTo {
		w.scratch = w.scratch[:0]
		for _, p := range parts {
			w.scratch = append(w.scratch, p...)
		}
		_, err := dst.Write(w.scratch)
		return err
	}
	w.gather = append(w.gather[:0], parts...)
	rest := w.gather // WriteTo eats its slice
	_, err := rest.WriteTo(dst)
	clear(w.gather)
	return err
}
