package record

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// sessionOf is the id of the session a tape is of.
func sessionOf(tape string) string { return strings.TrimSuffix(path.Base(tape), ".tape") }

// outcomeRecovered is the outcome of a session whose daemon was killed.
const outcomeRecovered = "recovered"

// recoverTapes puts the tapes of the sessions that a killed daemon left open in order: each is cut
// behind its last whole entry. The events, which are still to be logged, end the sessions.
func (r *Recorder) recoverTapes() ([]flow.Event, error) {
	committed, err := r.commit.load()
	if err != nil {
		return nil, err
	}
	var ends []flow.Event
	for _, session := range slices.Sorted(maps.Keys(r.log.open)) {
		tape := r.log.open[session]
		result := map[string]any{"outcome": outcomeRecovered, "tape": tape}
		found, err := recoverTape(r.dir, tape, committed[tape])
		switch {
		case diskFull(err):
			return nil, err // what is committed of it is nowhere else
		case errors.Is(err, fs.ErrNotExist):
			result["lost"] = "the tape does not exist"
		case err != nil:
			result["lost"] = "the tape cannot be read"
		default:
			result["digest"], result["size"], result["requests"] = found.Digest, found.Size, found.requests
			result["dropped_bytes"] = found.dropped
			r.quota.add(-found.dropped)
		}
		ends = append(ends, flow.Event{Type: flow.SessionEnded, Session: session, Result: result})
	}
	return ends, nil
}

// recoveredTape is an abandoned tape, put in order.
type recoveredTape struct {
	Sealed
	requests uint64
	dropped  int64 // bytes behind the last whole entry, allocated space included
}

// recoverTape puts back what was committed of a tape, cuts it behind its last
// whole entry and puts it on disk.
func recoverTape(dir, tape string, committed []part) (recoveredTape, error) {
	if !filepath.IsLocal(tape) {
		return recoveredTape{}, fmt.Errorf("recover tape: %w", fs.ErrInvalid)
	}
	name := filepath.Join(dir, tape)
	if err := restore(name, committed); err != nil {
		return recoveredTape{}, err
	}
	f, err := openRegular(name, os.O_RDWR)
	if err != nil {
		return recoveredTape{}, fmt.Errorf("recover tape: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return recoveredTape{}, fmt.Errorf("recover tape: %w", err)
	}
	t, err := newTapeReader(f)
	found := recoveredTape{}
	for err == nil {
		found.Size = t.off
		var e Entry
		if e, err = t.Next(); err == nil && e.Kind == KindVerdict {
			found.requests++
		}
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, ErrTorn) {
		return recoveredTape{}, fmt.Errorf("recover tape: %w", err)
	}
	found.dropped = info.Size() - found.Size
	if err := errors.Join(f.Truncate(found.Size), f.Sync()); err != nil {
		return recoveredTape{}, fmt.Errorf("recover tape: %w", err)
	}
	var d digester
	found.Digest, err = d.sum(f, found.Size)
	return found, err
}
