package record

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Open takes over the record in c.Dir, or begins one there, and becomes its
// only writer until Close. What a crash left unfinished is put right first, and the log says so:
// a torn entry at the end is cut, sessions without an end get one, a damaged log is left as it is and gone on from in a
// new file. On a full disk the recorder opens and refuses, as Err says, until there is room. Open starts two goroutines, which Close waits for.
func Open(c Config) (*Recorder, error) {
	c = c.withDefaults()
	if c.Host == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("open record: %w", err)
		}
		c.Host = host
	}
	for _, dir := range []string{c.Dir, filepath.Join(c.Dir, "log"), filepath.Join(c.Dir, "sessions")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("open record: %w", err)
		}
	}
	info, err := os.Stat(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("open record: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("open record: others may write to %s (mode %04o): chmod go-w it", c.Dir, info.Mode().Perm())
	}
	lock, err := lockDir(c.Dir)
	if err != nil {
		return nil, err
	}
	r, err := open(c, lock)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("open record: %w", err)
	}
	return r, nil
}

func open(c Config, lock *os.File) (*Recorder, error) {
	signer, fresh, err := hostKey(c.Dir, c.Host)
	if err != nil {
		return nil, err
	}
	spare, err := keepReserve(c.Dir)
	if err != nil {
		return nil, err
	}
	q := &quota{max: c.MaxBytes}
	for _, dir := range []string{"log", "sessions"} {
		used, err := treeSize(filepath.Join(c.Dir, dir))
		if err != nil {
			return nil, err
		}
		q.add(used)
	}
	log := &hostLog{config: c, dir: filepath.Join(c.Dir, "log"), signer: signer, reserve: spare, quota: q, open: map[string]string{}}
	found, err := log.takeOver()
	if err != nil {
		return nil, err
	}
	if log.seq == 0 && !fresh {
		found = append(found, begunAnew())
	}
	commit, err := openCommit(c.Dir)
	if err != nil {
		return nil, errors.Join(err, log.f.Close())
	}
	spare.more = commit.retake
	spare.empty = spare.empty || commit.released.Load()
	r := &Recorder{dir: c.Dir, lock: lock, log: log, commit: commit, quota: q, tapes: map[string]*Tape{}}
	if err := r.begin(found); err != nil {
		return nil, errors.Join(err, log.f.Close(), commit.f.Close())
	}
	r.syncer = newSyncer(disk{log, commit})
	r.flusher = newFlusher(c, disk{log, commit})
	return r, nil
}

// begin puts the tapes in order and writes the first entries of this run: what was found, what was put right.
func (r *Recorder) begin(found []flow.Event) error {
	ends, err := r.recoverTapes()
	if err != nil {
		return err
	}
	if r.log.reserve.spent() { // the daemon needs some room to start, and the commit file holds nothing any more
		if err := r.commit.release(); err != nil {
			return err
		}
	}
	// What the last run left without a checkpoint is vouched for at once.
	for _, events := range [][]flow.Event{append([]flow.Event{{Type: flow.RecorderStarted}}, found...), ends} {
		for _, ev := range events {
			if _, err := r.log.append(ev); err != nil {
				return err
			}
		}
		if err := r.log.checkpointIfNew(); err != nil {
			return err
		}
	}
	return r.log.flush()
}

// begunAnew tells of a log without an entry beside a key that had been made before: whoever
// empties a record and has it gone on with leaves this behind, and so does a crash within its very first moments.
func begunAnew() flow.Event {
	return flow.Event{Type: Recovered, Result: map[string]any{"begun_anew": true, "why": "the key is older than the log"}}
}

// takeOver finds the end of the log and opens it for appending. The events it
// returns tell what was wrong with it.
func (l *hostLog) takeOver() ([]flow.Event, error) {
	list, err := segments(l.dir)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, l.startSegment(1)
	}
	if err := l.recall(list); err != nil {
		return nil, err
	}
	last := list[len(list)-1]
	l.num = last.num
	content, err := readRegular(last.path)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	end, err := walk(content, l.learn)
	if err == nil {
		return nil, l.goOn(last, int64(len(content)))
	}
	if end == 0 && len(list) > 1 && len(content) < segmentHead {
		return l.dropSegment(last, len(content))
	}
	if end > 0 && resync(content, end) < 0 {
		return l.cutTail(last, end, len(content), err)
	}
	return l.leaveBroken(last, content, end, err)
}

// learn follows one sound entry: where the chain stands.
func (l *hostLog) learn(_ int64, seq uint64, e entry) error {
	l.seq, l.head = seq, e.hash
	return nil
}

// goOn opens a sound segment of size bytes for appending.
func (l *hostLog) goOn(s segment, size int64) error {
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	if size == segmentHead {
		content, err := readRegular(s.path)
		if err != nil {
			return fmt.Errorf("open log: %w", err)
		}
		seq, prev, err := parseHeader(content)
		if err != nil {
			return fmt.Errorf("open log: %w", err)
		}
		l.seq, l.head = seq-1, prev
	}
	l.f, l.off, l.synced = f, size, l.seq
	return nil
}

// startSegment begins a new segment behind what is known of the chain.
func (l *hostLog) startSegment(num int) error {
	f, err := createSegment(segmentAt(l.dir, num), l.seq+1, l.head)
	if err != nil {
		return err
	}
	l.f, l.off, l.num = f, segmentHead, num
	l.quota.add(segmentHead)
	return nil
}

// cutTail drops what a crash left of the last entry.
func (l *hostLog) cutTail(s segment, end int64, size int, why error) ([]flow.Event, error) {
	if err := os.Truncate(s.path, end); err != nil {
		return nil, fmt.Errorf("cut torn tail: %w", err)
	}
	l.quota.add(end - int64(size))
	ev := flow.Event{Type: Recovered, Result: map[string]any{
		"segment": s.name(), "offset": end, "dropped_bytes": int64(size) - end, "why": why.Error(),
	}}
	return []flow.Event{ev}, l.goOn(s, end)
}

// dropSegment removes a segment that a crash left without a whole header, and goes on in the one before.
func (l *hostLog) dropSegment(s segment, size int) ([]flow.Event, error) {
	if err := os.Remove(s.path); err != nil {
		return nil, fmt.Errorf("drop torn segment: %w", err)
	}
	l.quota.add(-int64(size))
	found, err := l.takeOver()
	ev := flow.Event{Type: Recovered, Result: map[string]any{"segment": s.name(), "offset": 0, "dropped_bytes": size}}
	return append(found, ev), err
}

// leaveBroken goes on in a new segment behind a damaged one: numbers go on
// behind the highest that can still be read, and the chain from there.
func (l *hostLog) leaveBroken(s segment, content []byte, end int64, why error) ([]flow.Event, error) {
	good := l.seq
	for off := resync(content, end); off >= 0; off = resync(content, off) {
		for off < int64(len(content)) {
			e, err := cutEntry(content[off:])
			if err != nil {
				break
			}
			if n := seqOf(e.payload); n > l.seq {
				l.seq, l.head = n, e.hash
			}
			off += e.size
		}
	}
	ev := flow.Event{Type: Broken, Result: map[string]any{
		"segment": s.name(), "offset": end, "after_seq": good, "resumed_seq": l.seq + 1,
		"resumed_head": hex.EncodeToString(l.head[:]), "why": why.Error(),
	}}
	return []flow.Event{ev}, l.startSegment(s.num + 1)
}

// treeSize is the number of bytes below dir.
func treeSize(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		total += info.Size()
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure record: %w", err)
	}
	return total, nil
}
