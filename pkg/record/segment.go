package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A segment's header, integers little-endian:
//
//	| "chaplog1" | first seq u64 | head before it [32]byte | crc u32 of all before |
const (
	segmentMagic = "chaplog1"
	segmentHead  = 8 + 8 + 32 + 4
)

// segment is one file of the log.
type segment struct {
	num  int
	path string
}

func (s segment) name() string { return filepath.Base(s.path) }

func segmentAt(dir string, num int) segment {
	return segment{num: num, path: filepath.Join(dir, fmt.Sprintf("%04d.log", num))}
}

// segments lists a log's files in order. Other files are not looked at.
func segments(dir string) ([]segment, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list log: %w", err)
	}
	var list []segment
	for _, f := range files {
		base, isLog := strings.CutSuffix(f.Name(), ".log")
		num, err := strconv.Atoi(base)
		if isLog && err == nil && num > 0 {
			list = append(list, segment{num: num, path: filepath.Join(dir, f.Name())})
		}
	}
	slices.SortFunc(list, func(a, b segment) int { return a.num - b.num })
	return list, nil
}

// segmentHeader renders the header of a segment whose first entry is seq.
func segmentHeader(seq uint64, prev chain) []byte {
	b := append([]byte(nil), segmentMagic...)
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = append(b, prev[:]...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// parseHeader reads a segment's header: its first entry's number, and the head before it.
func parseHeader(b []byte) (seq uint64, prev chain, err error) {
	if len(b) < segmentHead {
		return 0, prev, errHeaderShort
	}
	if string(b[:8]) != segmentMagic || crc32.Checksum(b[:48], castagnoli) != binary.LittleEndian.Uint32(b[48:]) {
		return 0, prev, problem("segment header is damaged")
	}
	return binary.LittleEndian.Uint64(b[8:]), chain(b[16:48]), nil
}

// visit is called for each entry of a segment that stands in the chain.
type visit func(offset int64, seq uint64, e entry) error

// walk reads the entries of a segment's bytes in order and calls each. It stops at
// the first that is not as it must be, and returns the offset it stopped at.
func walk(b []byte, each visit) (end int64, err error) {
	seq, prev, err := parseHeader(b)
	if err != nil {
		return 0, err
	}
	off := int64(segmentHead)
	for ; off < int64(len(b)); seq++ {
		e, err := cutEntry(b[off:])
		if err != nil {
			return off, err
		}
		if prev.next(e.payload) != e.hash {
			return off, problem("entry does not follow from the one before it")
		}
		if got := seqOf(e.payload); got != seq {
			return off, problem(fmt.Sprintf("entry has number %d where %d is due", got, seq))
		}
		if err := each(off, seq, e); err != nil {
			return off, err
		}
		prev = e.hash
		off += e.size
	}
	return off, nil
}

// resync looks for the next well-formed entry behind a damaged place; -1: there is none.
func resync(b []byte, from int64) int64 {
	for off := from + 1; off+entryHead <= int64(len(b)); off++ {
		if _, err := cutEntry(b[off:]); err == nil {
			return off
		}
	}
	return -1
}
