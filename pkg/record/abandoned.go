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

// closeAbandoned ends the sessions a killed daemon left open: each tape is cut
// behind its last whole entry, and its digest enters the log.
func (r *Recorder) closeAbandoned() error {
	committed, err := r.commit.load()
	if err != nil {
		return err
	}
	open := maps.Clone(r.log.open)
	for _, session := range slices.Sorted(maps.Keys(open)) {
		tape := open[session]
		result := map[string]any{"outcome": outcomeRecovered, "tape": tape}
		found, err := recoverTape(r.dir, tape, committed[tape])
		switch {
		case errors.Is(err, fs.ErrNotExist):
			result["lost"] = "the tape does not exist"
		case err != nil:
			result["lost"] = "the tape cannot be read"
		default:
			result["digest"], result["size"], result["requests"] = found.Digest, found.Size, found.requests
			result["dropped_bytes"] = found.dropped
			r.quota.add(-found.dropped)
		}
		if _, err := r.log.append(flow.Event{Type: flow.SessionEnded, Session: session, Result: result}); err != nil {
			return err
		}
	}
	return nil
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
