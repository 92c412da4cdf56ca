package record

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Removed is what Prune took out of the record; it is the result of a recorder.pruned event.
type Removed struct {
	Before   time.Time `json:"before"`
	Tapes    []string  `json:"tapes,omitempty"`       // paths below the record's directory
	Segments []string  `json:"segments,omitempty"`    // of the log, by file name
	Through  uint64    `json:"through_seq,omitempty"` // the last entry of the removed segments
	Head     string    `json:"head,omitempty"`        // hex of the chain head there
	Bytes    int64     `json:"bytes"`
}

// pruneBatch is how many tapes one recorder.pruned event names at most.
const pruneBatch = 1000

// Prune removes the tapes of sessions that ended before a time, and the log's
// oldest segments as far as they tell of nothing younger. What is removed is named in the log
// first, on disk, so that Verify can tell it from what was taken. On whose order is the caller's to log.
func (r *Recorder) Prune(before time.Time) (Removed, error) {
	r.pruning.Lock()
	defer r.pruning.Unlock()
	reader := &Reader{dir: r.dir}
	sessions, err := reader.Sessions()
	if err != nil {
		return Removed{}, fmt.Errorf("prune: %w", err)
	}
	total := Removed{Before: before}
	old := slices.DeleteFunc(slices.Clone(sessions), func(s Session) bool { return !r.prunable(s, before) })
	for batch := range slices.Chunk(old, pruneBatch) {
		if err := r.pruneTapes(batch, &total); err != nil {
			return total, fmt.Errorf("prune tapes: %w", err)
		}
	}
	if err := r.pruneLog(sessions, &total); err != nil {
		return total, fmt.Errorf("prune log: %w", err)
	}
	return total, nil
}

// prunable says whether a session is over since before a time, and has a tape.
func (r *Recorder) prunable(s Session, before time.Time) bool {
	if !over(s, before) || !filepath.IsLocal(s.tape) {
		return false
	}
	_, err := os.Lstat(filepath.Join(r.dir, s.tape))
	return err == nil
}

func over(s Session, before time.Time) bool { return s.State != StateOpen && s.End.Before(before) }

func (r *Recorder) pruneTapes(batch []Session, total *Removed) error {
	rm := Removed{Before: total.Before}
	for _, s := range batch {
		rm.Tapes = append(rm.Tapes, s.tape)
		rm.Bytes += s.Size
	}
	if err := r.announce(rm); err != nil {
		return err
	}
	for _, tape := range rm.Tapes {
		if err := os.Remove(filepath.Join(r.dir, tape)); err != nil {
			return err
		}
		_ = os.Remove(filepath.Dir(filepath.Join(r.dir, tape))) // the day, when it was the last
	}
	r.quota.add(-rm.Bytes)
	total.Tapes = append(total.Tapes, rm.Tapes...)
	total.Bytes += rm.Bytes
	return nil
}

// pruneLog removes the oldest segments, never the last one.
func (r *Recorder) pruneLog(sessions []Session, total *Removed) error {
	young := map[string]bool{}
	for _, s := range sessions {
		if !over(s, total.Before) {
			young[s.ID] = true
		}
	}
	list, err := segments(filepath.Join(r.dir, "log"))
	if err != nil {
		return err
	}
	rm := Removed{Before: total.Before}
	var paths []string
	for i := 0; i+1 < len(list); i++ {
		old, err := r.oldSegment(list[i], total.Before, young)
		if err != nil {
			return err
		}
		if !old {
			break
		}
		next, err := openSegment(list[i+1])
		if err != nil {
			return err
		}
		rm.Segments = append(rm.Segments, list[i].name())
		rm.Through, rm.Head = next.first-1, hex.EncodeToString(next.prev[:])
		paths = append(paths, list[i].path)
		next.close()
	}
	if len(paths) == 0 {
		return nil
	}
	return r.removeSegments(rm, paths, total)
}

func (r *Recorder) removeSegments(rm Removed, paths []string, total *Removed) error {
	rm.Bytes = 0
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		rm.Bytes += info.Size()
	}
	if err := r.announce(rm); err != nil {
		return err
	}
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	r.quota.add(-rm.Bytes)
	total.Segments, total.Through, total.Head = rm.Segments, rm.Through, rm.Head
	total.Bytes += rm.Bytes
	return nil
}

// oldSegment says whether every event of a segment is older than before, and
// every session that starts in it is over since then.
func (r *Recorder) oldSegment(s segment, before time.Time, young map[string]bool) (bool, error) {
	l, err := openSegment(s)
	if err != nil {
		return false, err
	}
	defer l.close()
	for {
		e, err := l.next()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("read %s: %w", s.name(), err)
		}
		var ev struct {
			Type    string    `json:"type"`
			Time    time.Time `json:"time"`
			Session string    `json:"session"`
		}
		if err := json.Unmarshal(e.payload, &ev); err != nil {
			return false, err
		}
		if !ev.Time.Before(before) || ev.Type == flow.SessionStarted && young[ev.Session] {
			return false, nil
		}
	}
}

// announce names in the log what is about to be removed.
func (r *Recorder) announce(rm Removed) error {
	body, err := json.Marshal(rm)
	if err != nil {
		return err
	}
	var result map[string]any
	if err := json.Unmarshal(body, &result); err != nil {
		return err
	}
	ev := flow.Event{Type: Pruned, Result: result}
	err = r.write(ev, true)
	if !diskFull(err) {
		return err
	}
	// A disk so full that there is no room even to say what will make some: the commit file lends its own.
	if err := r.log.borrow(r.commit); err != nil {
		return err
	}
	return r.write(ev, true)
}

// prunedOf decodes what a recorder.pruned event removed.
func prunedOf(payload []byte) Removed {
	var ev struct {
		Type   string  `json:"type"`
		Result Removed `json:"result"`
	}
	if json.Unmarshal(payload, &ev) != nil || ev.Type != Pruned {
		return Removed{}
	}
	return ev.Result
}
