package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// witness is what the log says of one session, with where it says so.
type witness struct {
	told           Session
	lost           string
	started, ended bool
	at             Place
}

// witness takes an entry's testimony on sessions and what was pruned.
func (v *verifier) witness(p Place, payload []byte) {
	switch {
	case isType(payload, Pruned):
		rm := prunedOf(payload)
		for _, tape := range rm.Tapes {
			v.pruned[tape] = true
		}
		v.report.Pruned += len(rm.Tapes)
		// A crash, or this very moment, can be between two of the segments that are to go.
		if rm.Through > v.start.seq || rm.Through == v.start.seq && rm.Head == v.start.head {
			v.start.told = true
		}
	case isType(payload, "session."):
		v.session(p, payload)
	case isType(payload, Recovered):
		v.recovered(p, payload)
	case isType(payload, flow.RecorderStarted):
		v.restarted(p, payload)
	case isType(payload, flow.CaptureCanary):
		v.span.canary(payload)
	case isType(payload, flow.CaptureRefused):
		v.counted(refusals(payload), payload)
	case isType(payload, flow.RequestDecided) && v.refusedFlow(payload):
		v.counted(1, payload)
	}
}

// counted takes sessions or refusals into account.
func (v *verifier) counted(n uint64, payload []byte) {
	v.flows.record(n)
	v.span.record(n, timeOf(payload))
}

// restarted ends a run's account, and doubts one that was not closed.
func (v *verifier) restarted(p Place, payload []byte) {
	v.flows.restart()
	v.missed(v.span.restart(p, v.orderly))
	if v.orderly || v.report.Entries == 1 {
		return
	}
	v.report.doubt(p, fmt.Sprintf("the run before this start, at %s, left no closing checkpoint: its daemon was killed, or the end of its log was removed",
		timeOf(payload).Format(time.DateTime)))
}

// missed reports what is missing between two runs. A killed daemon takes some connections
// along that were not recorded yet; one that ended in order does not.
func (v *verifier) missed(g gap) {
	v.flows.past.Unexplained += g.lost
	switch {
	case g.lost == 0:
	case g.closed:
		v.report.broken(g.start, fmt.Sprintf("%d connections that the kernel turned to the proxy before this start are missing: the log's end was removed, back to a closing checkpoint", g.lost))
	default:
		v.report.doubt(g.start, fmt.Sprintf("%d connections that the kernel turned to the proxy before this start are missing: they were waiting, or could not be recorded, when the daemon was killed, or the log's end was removed", g.lost))
	}
}

// timeOf is when an event happened.
func timeOf(payload []byte) time.Time {
	var ev struct {
		Time time.Time `json:"time"`
	}
	_ = json.Unmarshal(payload, &ev) // one that does not decode is reported where it is used
	return ev.Time
}

// recovered doubts a log that was begun anew.
func (v *verifier) recovered(p Place, payload []byte) {
	var ev struct {
		Result struct {
			Anew bool `json:"begun_anew"`
		} `json:"result"`
	}
	if json.Unmarshal(payload, &ev) == nil && ev.Result.Anew {
		v.report.doubt(p, fmt.Sprintf("the key is older than this log, which begins at %s: an earlier log was removed, or a crash came before its first entry",
			timeOf(payload).Format(time.DateTime)))
	}
}

func (v *verifier) session(p Place, payload []byte) {
	var t told
	if json.Unmarshal(payload, &t) != nil {
		v.report.broken(p, "event does not decode")
		return
	}
	if t.Type != flow.SessionStarted && t.Type != flow.SessionEnded {
		return
	}
	w := v.sessions[t.Session]
	if w == nil {
		w = &witness{}
		v.sessions[t.Session] = w
	}
	w.at = p
	tape := w.told.tape
	switch t.Type {
	case flow.SessionStarted:
		if w.started || w.ended {
			v.report.broken(p, "session "+t.Session+" starts twice")
		}
		w.started = true
		v.counted(1, payload)
	case flow.SessionEnded:
		if w.ended {
			v.report.broken(p, "session "+t.Session+" ends twice")
		}
		if !w.started && v.start.seq == 0 {
			v.report.broken(p, "session "+t.Session+" ends and never started")
		}
		w.ended, w.lost = true, t.Result.Lost
		if tape != "" && t.Result.Tape != "" && t.Result.Tape != tape {
			v.report.broken(p, "session "+t.Session+" ends with another tape than it started with")
		}
	}
	w.told.tell(t)
}

// refusedFlow says whether an event is the refusal of a whole flow: it has no request. One whose session
// began, and could not be recorded, is counted already.
func (v *verifier) refusedFlow(payload []byte) bool {
	var ev flow.Event
	if json.Unmarshal(payload, &ev) != nil || ev.Request != nil || ev.Flow == nil {
		return false
	}
	w := v.sessions[ev.Session]
	return w == nil || !w.started
}

// refusals is how many connections an entry sums up.
func refusals(payload []byte) uint64 {
	var ev struct {
		Result struct {
			Count uint64 `json:"count"`
		} `json:"result"`
	}
	if json.Unmarshal(payload, &ev) != nil {
		return 1
	}
	return max(1, ev.Result.Count)
}

// listTapes lists the tapes there are, by their path below dir.
func listTapes(dir string) ([]string, error) {
	var list []string
	err := filepath.WalkDir(filepath.Join(dir, "sessions"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		below, err := filepath.Rel(dir, path)
		list = append(list, below)
		return err
	})
	return list, err
}

// tapes holds the tapes against what the log says of them.
func (v *verifier) tapes(there []string) error {
	known := map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(v.sessions)) {
		w := v.sessions[id]
		v.report.Sessions++
		known[w.told.tape] = true
		if !w.ended {
			v.report.Open++
		}
		if err := v.tape(w); err != nil {
			return err
		}
	}
	for _, path := range there {
		if !known[path] && !v.pruned[path] {
			v.report.broken(Place{File: path}, "no session of the log has this tape: a stranger, or the log's end was removed")
		}
	}
	return nil
}

// tape checks one session's tape.
func (v *verifier) tape(w *witness) error {
	s := w.told
	if s.tape == "" || v.pruned[s.tape] {
		return nil
	}
	if !filepath.IsLocal(s.tape) || !strings.HasPrefix(s.tape, "sessions/") {
		v.report.broken(w.at, "session "+s.ID+" has a tape outside of the record")
		return nil
	}
	f, err := openRegular(filepath.Join(v.dir, s.tape), os.O_RDONLY)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.missing(w)
		return nil
	case errors.Is(err, errIrregular):
		v.report.broken(Place{File: s.tape}, "what stands in the place of session "+s.ID+"'s tape is not a regular file")
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if w.lost != "" {
		v.report.doubt(w.at, "session "+s.ID+" was recovered without its tape: "+w.lost)
	}
	if !w.ended || s.Digest == "" {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != s.Size {
		v.report.broken(Place{File: s.tape}, fmt.Sprintf("tape has %d bytes, the log says %d", info.Size(), s.Size))
		return nil
	}
	var d digester
	digest, err := d.sum(f, s.Size)
	if err != nil {
		return err
	}
	if digest != s.Digest {
		v.report.broken(Place{File: s.tape, Offset: firstBad(f)}, "tape is not the one whose digest is in the log")
	}
	v.report.Tapes++
	return nil
}

// missing reports a tape that is not there.
func (v *verifier) missing(w *witness) {
	switch {
	case w.lost != "":
		v.report.doubt(w.at, "session "+w.told.ID+" was recovered without its tape: "+w.lost)
	case !w.ended && v.live:
		// just being begun
	case !w.ended:
		v.report.doubt(w.at, "session "+w.told.ID+" has no tape yet and no end: a crash, or a hand")
	case w.told.Digest != "":
		v.report.broken(w.at, "the tape of session "+w.told.ID+" is gone")
	}
}

// firstBad is the offset of the first entry of a tape that is damaged; 0: all are well-formed.
func firstBad(f *os.File) int64 {
	t, err := newTapeReader(f)
	for err == nil {
		_, err = t.Next()
	}
	if errors.Is(err, ErrTorn) && t != nil {
		return t.off
	}
	return 0
}
