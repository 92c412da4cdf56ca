package record

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// logReader reads one segment's entries in order. The segment may still grow.
type logReader struct {
	segment segment
	first   uint64 // number of the first entry, from the header
	prev    chain  // head before the first entry, from the header
	f       *os.File
	off     int64 // of the next entry
	buf     []byte
	have    []byte // the unread part of buf, from off on
}

// openSegment opens a segment for reading. The caller closes it. A damaged header is a problem,
// and so is what is no file.
func openSegment(s segment) (*logReader, error) {
	f, err := openRegular(s.path, os.O_RDONLY)
	if errors.Is(err, errIrregular) {
		return nil, errStranger
	}
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	l := &logReader{segment: s, f: f, off: segmentHead, buf: make([]byte, 256<<10)}
	head := l.buf[:segmentHead]
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		f.Close()
		return nil, fmt.Errorf("read log: %w", err)
	}
	l.first, l.prev, err = parseHeader(head[:n])
	if err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

func (l *logReader) close() error { return l.f.Close() }

// next reads the next well-formed entry, valid until the next call. io.EOF is the end, for
// now; a problem says what stands where an entry should.
func (l *logReader) next() (entry, error) {
	for {
		e, err := cutEntry(l.have)
		if !errors.Is(err, errShort) {
			if err == nil {
				l.skip(e.size)
			}
			return e, err
		}
		more, err := l.fill()
		if err != nil {
			return entry{}, err
		}
		if !more && len(l.have) == 0 {
			return entry{}, io.EOF
		}
		if !more {
			return entry{}, errShort
		}
	}
}

func (l *logReader) skip(n int64) {
	l.have = l.have[n:]
	l.off += n
}

// fill reads more of the file behind what there is.
func (l *logReader) fill() (more bool, err error) {
	if len(l.have) > len(l.buf)/2 {
		l.buf = append(make([]byte, 0, 2*len(l.buf)), l.have...)[:2*len(l.buf)]
	} else {
		copy(l.buf, l.have)
	}
	n, err := l.f.ReadAt(l.buf[len(l.have):], l.off+int64(len(l.have)))
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read log: %w", err)
	}
	l.have = l.buf[:len(l.have)+n]
	return n > 0, nil
}

// resync moves on to the next well-formed entry behind a damaged place.
func (l *logReader) resync() (found bool, err error) {
	for {
		if len(l.have) < entryHead {
			more, err := l.fill()
			if err != nil || !more {
				return false, err
			}
			continue
		}
		l.skip(1)
		_, err := cutEntry(l.have)
		if err == nil {
			return true, nil
		}
		// An entry that is only not complete yet in the buffer may be one; a
		// false length is read to its end once and then known.
		if errors.Is(err, errShort) {
			if ok, err := l.whole(); ok || err != nil {
				return ok, err
			}
		}
	}
}

// whole says whether an entry that reaches beyond the buffer is one.
func (l *logReader) whole() (bool, error) {
	at := l.off
	_, err := l.next()
	if err == nil {
		l.off, l.have = at, nil
		return true, nil
	}
	if _, bad := errors.AsType[problem](err); bad || errors.Is(err, io.EOF) {
		return false, nil
	}
	return false, err
}
