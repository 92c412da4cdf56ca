package record

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Verify checks a record against the public key its checkpoints are signed
// with: order, checksums, chain, signatures, each ended session's tape, and whether the kernel
// counted more connections than were recorded. anchors are checkpoint notes that were kept elsewhere
// (Recorder.Checkpoint): the log must still hold what they were signed over. A recorder may be
// writing meanwhile. The error is about verifying, the report about the record.
//
// Without anchors, entries removed from the end behind the last checkpoint
// cannot be told from entries that were never written; Report.Sealed says where that begins. After the next
// start, the connections among them are missing from the kernel's count, and the run stays in doubt.
func Verify(dir, publicKey string, anchors ...string) (*Report, error) {
	const most = 10 // times that a prune may come between
	for again := 1; ; again++ {
		v, err := verify(dir, publicKey, anchors)
		if err != nil && v == nil {
			return nil, err
		}
		if again < most && v.live && (errors.Is(err, fs.ErrNotExist) || err == nil && !v.report.OK() && v.prunedSince()) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
		return v.report, nil
	}
}

// verify is one pass over a record. It gives the verifier with an error of the pass itself.
func verify(dir, publicKey string, anchors []string) (*verifier, error) {
	v := &verifier{dir: dir, key: publicKey, report: &Report{}, sessions: map[string]*witness{}, anchors: map[uint64][]Mark{}}
	for _, a := range anchors {
		m, err := OpenMark(a, publicKey)
		if err != nil {
			return nil, fmt.Errorf("anchor: %w", err)
		}
		v.anchors[m.Seq] = append(v.anchors[m.Seq], m)
	}
	_, err := note.NewVerifier(publicKey)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	if v.live, err = Writing(dir); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	return v, v.all()
}

// prunedSince says whether something was pruned since the last entry was read.
func (v *verifier) prunedSince() bool {
	found := false
	(&Reader{dir: v.dir}).raw(cursor{seq: v.seq + 1}, Pruned, func(payload []byte, err error) bool {
		found = found || err == nil && isType(payload, Pruned)
		return !found
	})
	return found
}

// verifier is one pass over a record.
type verifier struct {
	dir, key string
	live     bool // a recorder is writing
	report   *Report
	anchors  map[uint64][]Mark

	seq      uint64 // of the last entry
	prev     chain  // the head it leaves
	lost     bool   // the chain is broken here: the next entry is believed
	due      uint64 // a checkpoint must come at or before this entry; 0: none is due yet
	closing  bool   // the last entry is a closing checkpoint
	orderly  bool   // the one before it was
	last     Place
	start    cutOff // where a pruned log must begin
	pruned   map[string]bool
	sessions map[string]*witness
	flows    flowCount
	span     span
}

// cutOff is where the log begins, when its first segments are gone.
type cutOff struct {
	seq   uint64 // the last entry that is gone
	head  string
	place Place
	told  bool // a recorder.pruned event says so
}

// all looks at the tapes' names first: a tape that is there by then has its session in the log.
func (v *verifier) all() error {
	v.pruned = map[string]bool{}
	tapes, err := listTapes(v.dir)
	if err != nil {
		return err
	}
	list, err := segments(filepath.Join(v.dir, "log"))
	if err != nil {
		return err
	}
	if len(list) == 0 {
		v.report.broken(Place{File: "log"}, "there is no log")
	}
	for i, s := range list {
		if i > 0 && s.num != list[i-1].num+1 {
			v.report.broken(v.place(s, 0, v.seq+1), fmt.Sprintf("segments between %s and this one are missing", list[i-1].name()))
			v.lost = true
		}
		if v.report.Entries == 0 {
			v.last = v.place(s, 0, 0)
		}
		if err := v.segment(s, i == 0, i+1 == len(list)); err != nil {
			return err
		}
	}
	v.end()
	return v.tapes(tapes)
}

func (v *verifier) place(s segment, off int64, seq uint64) Place {
	return Place{File: filepath.Join("log", s.name()), Offset: off, Seq: seq}
}

// segment checks one segment's header and entries.
func (v *verifier) segment(s segment, first, last bool) error {
	l, err := openSegment(s)
	if bad, ok := errors.AsType[problem](err); ok {
		v.damaged(v.place(s, 0, v.seq+1), bad, last)
		return nil
	}
	if err != nil {
		return err
	}
	defer l.close()
	switch {
	case first:
		v.seq, v.prev = l.first-1, l.prev
		v.report.First = l.first
		v.start = cutOff{seq: v.seq, head: hex.EncodeToString(l.prev[:]), place: v.place(s, 0, l.first)}
	case v.lost:
		v.seq, v.prev, v.lost = l.first-1, l.prev, false
	case l.first != v.seq+1 || l.prev != v.prev:
		v.report.broken(v.place(s, 0, v.seq+1), "segment does not follow from the one before it")
		v.seq, v.prev = l.first-1, l.prev
	}
	return v.entries(s, l, last)
}

func (v *verifier) entries(s segment, l *logReader, last bool) error {
	for {
		at := l.off
		e, err := l.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if bad, ok := errors.AsType[problem](err); ok {
			found, err := l.resync()
			if err != nil {
				return err
			}
			v.damaged(v.place(s, at, v.seq+1), bad, last && !found)
			v.lost = true
			if !found {
				return nil
			}
			continue
		}
		if err != nil {
			return err
		}
		v.entry(v.place(s, at, seqOf(e.payload)), e)
	}
}

// damaged reports a place where no entry can be read. At the very end of the
// log an incomplete one is what a crash leaves, or one that is just being written.
func (v *verifier) damaged(p Place, bad problem, end bool) {
	torn := bad == errShort || bad == errHeaderShort
	if end && torn && v.live {
		return
	}
	if end && torn {
		v.report.doubt(p, "the last entry is torn: a crash, or a cut; the next start of the daemon drops it")
		return
	}
	v.report.broken(p, string(bad))
}

// entry checks one well-formed entry against the one before it.
func (v *verifier) entry(p Place, e entry) {
	follows := v.prev.next(e.payload) == e.hash
	switch {
	case v.lost:
		v.lost = false
	case p.Seq != v.seq+1:
		v.report.broken(Place{p.File, p.Offset, v.seq + 1}, fmt.Sprintf("entry %d stands where %d is due: entries were removed, added or moved", p.Seq, v.seq+1))
	case !follows:
		v.report.broken(p, "entry does not follow from the one before it: it, or its hash, was changed")
	}
	before := v.prev
	v.orderly = v.closing
	v.seq, v.prev, v.last, v.closing = p.Seq, e.hash, p, false
	v.report.Entries++
	v.report.Last = p.Seq
	if isType(e.payload, Checkpointed) {
		v.checkpoint(p, e.payload, before)
	} else if v.due != 0 && p.Seq > v.due {
		v.report.broken(p, "a checkpoint was due before this entry: checkpoints were removed, or entries added")
		v.due = 0
	}
	v.witness(p, e.payload)
	for _, m := range v.anchors[p.Seq] {
		if m.Head != hex.EncodeToString(e.hash[:]) {
			v.report.broken(p, "a checkpoint kept elsewhere was signed over another history up to here")
		}
	}
	delete(v.anchors, p.Seq)
}

// slack is how many entries may stand between the one at which a checkpoint is due and the checkpoint.
const slack = 8

// checkpoint checks a checkpoint; before is the head it must be signed over.
func (v *verifier) checkpoint(p Place, payload []byte, before chain) {
	c, err := checkpointOf(payload)
	if err == nil {
		err = c.verify(v.key, p.Seq-1, before)
	}
	if err != nil {
		v.report.broken(p, err.Error())
		return
	}
	v.report.Checkpoints++
	v.report.Sealed = p.Seq
	v.due = p.Seq + uint64(max(c.Every, 1)) + slack
	v.closing = c.Closing
	v.flows.checkpoint(c.Counters)
	v.span.checkpoint(c.claims, timeOf(payload))
}

// end checks what only the whole log can tell.
func (v *verifier) end() {
	for seq := range v.anchors {
		if seq < v.report.First {
			continue // pruned, or about to be said
		}
		v.report.broken(v.last, fmt.Sprintf("a checkpoint kept elsewhere was signed over entry %d, which is gone", seq))
	}
	if v.start.seq != 0 && !v.start.told {
		v.report.broken(v.start.place, "the log does not begin with its first entry, and no recorder.pruned event says why")
	}
	if v.start.seq == 0 && v.start.head != hex.EncodeToString(make([]byte, len(chain{}))) && v.report.Entries > 0 {
		v.report.broken(v.start.place, "the log's first segment has something before it")
	}
	if v.report.Checkpoints == 0 {
		v.report.broken(v.last, "no checkpoint vouches for this log, and the first run writes one before anything passes: it was emptied, or cut")
	}
	if !v.live && !v.closing && v.report.Entries > 0 {
		v.report.doubt(v.last, "the log does not end with a closing checkpoint: the daemon was killed, or the end was removed")
	}
	if v.live {
		v.span.settle(time.Now().Add(-grace))
	}
	v.missed(v.span.gap())
	v.report.Flows = v.flows.sum()
	v.report.Flows.Missing = v.span.lost()
	if v.report.Flows.Missing > 0 {
		v.report.broken(v.last, fmt.Sprintf("the kernel turned %d connections to the proxy that were never recorded", v.report.Flows.Missing))
	}
}

// Writing says whether a recorder holds the lock of the record in dir.
func Writing(dir string) (bool, error) {
	f, err := openRegular(filepath.Join(dir, "lock"), os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}
