package postgres

import (
	"bytes"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// long is a text on its way that is too long to be read as a whole, so its secrets are not known. From the
// first piece on that names one, the tape has stars.
type long struct {
	on      bool
	starred bool
	ending  int    // bytes that end its message
	tail    []byte // the last bytes that passed: a name may have begun there
}

// nameBytes is more than the longest name of a secret has.
const nameBytes = 32

// begins notes the message that is about to be sent, which ends in so many zeros.
func (e *engine) begins(partial bool, ending int) {
	e.long = long{on: partial, ending: ending, tail: e.long.tail[:0]}
}

// stars gives what the tape has in place of a piece of the text, nil where it may have that. left is how many bytes
// of its message follow the piece.
func (l *long) stars(piece []byte, left int) []byte {
	if !l.on {
		return nil
	}
	if !l.starred {
		seam := append(l.tail, piece[:min(len(piece), nameBytes)]...)
		l.starred = sqlread.NamesSecret(string(seam)) || sqlread.NamesSecret(string(piece))
		last := piece
		if len(last) < nameBytes {
			last = seam
		}
		l.tail = append(seam[:0], last[max(0, len(last)-nameBytes):]...)
	}
	if !l.starred {
		return nil
	}
	stars := bytes.Repeat([]byte{'*'}, len(piece))
	for i := max(0, len(stars)+left-l.ending); i < len(stars); i++ {
		stars[i] = 0
	}
	return stars
}

// streamed hands over a piece of the current message.
func (w *walk) streamed(piece []byte) {
	e := w.e
	var stars []byte
	if w.dir == interceptor.Up {
		stars = e.long.stars(piece, e.rest[w.dir])
	}
	switch {
	case e.drop[w.dir]:
		w.pass()
		if e.kept && w.dir == interceptor.Up {
			if stars != nil {
				piece = stars
			}
			e.reels[w.dir].add(piece)
		}
		w.skip(len(piece))
	case stars != nil:
		w.passAs(len(piece), stars)
	default:
		w.pos += len(piece)
	}
}
