package record

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"
)

// hostLog is the host's log, open for writing.
type hostLog struct {
	config  Config
	dir     string
	signer  note.Signer
	reserve *reserve
	quota   *quota

	// syncing is held while files are synced; taken before mu.
	syncing sync.Mutex

	// mu guards all below.
	mu      sync.Mutex
	f       *os.File
	retired []*os.File // full segments, not yet synced
	num     int        // of f
	off     int64      // where f ends
	seq     uint64     // of the newest entry
	head    chain
	synced  uint64            // newest entry known to be on disk
	since   int               // entries since the last checkpoint
	open    map[string]string // sessions that have not ended, with the path of their tape
	signed  string            // the last checkpoint's note
	buf     []byte
	broken  error // set once; nothing can be written any more
}

// encoded is an event ready to be numbered.
type encoded struct {
	kind    string
	session string
	tape    string // path, of a session.started
	payload []byte
}

// encode fills in what is the recorder's and renders the event.
func (l *hostLog) encode(ev flow.Event) (encoded, error) {
	if ev.Time.IsZero() {
		ev.Time = l.config.Now()
	}
	ev.Time = ev.Time.Round(0).UTC()
	ev.Host = l.config.Host
	payload, err := encode(ev)
	tape, _ := ev.Result["tape"].(string)
	return encoded{kind: ev.Type, session: ev.Session, tape: tape, payload: payload}, err
}

// append writes one event and returns its number. When it returns, the entry has left the process.
func (l *hostLog) append(ev flow.Event) (uint64, error) {
	e, err := l.encode(ev)
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.admit(e.kind); err != nil {
		return 0, err
	}
	if l.since >= l.config.CheckpointEntries || l.off >= l.config.SegmentBytes {
		if err := l.pause(); err != nil && !lastWord(e.kind) {
			return 0, err
		}
	}
	if err := l.write(e); err != nil {
		return 0, err
	}
	return l.seq, nil
}

// admit says whether an event of this type may be written now.
func (l *hostLog) admit(kind string) error {
	if l.broken != nil {
		return l.broken
	}
	if lastWord(kind) {
		return nil
	}
	if l.reserve.spent() {
		return l.resume()
	}
	return l.quota.room()
}

// resume goes on after a full disk, once there is room. Called with mu held.
func (l *hostLog) resume() error {
	if !l.reserve.refill(l.config.Now()) {
		return fmt.Errorf("%w: no space left on the device", ErrUnwritable)
	}
	return l.say(Resumed, nil)
}

// unwritable says why an ordinary event would not be written now. After a full disk it looks
// whether there is room: nothing else may come for a long time.
func (l *hostLog) unwritable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	if l.reserve.spent() {
		if err := l.resume(); err != nil {
			return err
		}
	}
	return l.quota.room()
}

// lastWord says whether events of a type are still written into the reserve on a full disk.
func lastWord(kind string) bool {
	return kind == flow.SessionEnded || kind == flow.AskResolved || strings.HasPrefix(kind, "recorder.")
}

// say writes an event of the recorder's own. Called with mu held.
func (l *hostLog) say(kind string, result map[string]any) error {
	e, err := l.encode(flow.Event{Type: kind, Result: result})
	if err != nil {
		return err
	}
	return l.write(e)
}

// write puts one entry at the end of the log. When the disk is full, the
// reserve is given back, the log says so, and a last word is written after all. Called with mu held.
func (l *hostLog) write(e encoded) error {
	err := l.put(e)
	if !l.spend(err) {
		return err
	}
	if full, encoding := l.encode(flow.Event{Type: Full}); encoding == nil {
		_ = l.put(full) // if there is no room even for that, e fails too
	}
	if !lastWord(e.kind) {
		return err
	}
	return l.put(e)
}

// spend gives the reserve back if err says that the disk is full.
func (l *hostLog) spend(err error) bool {
	if l.reserve.spent() || !diskFull(err) {
		return false
	}
	l.reserve.spend()
	return true
}

// borrow gives the commit file's space to the log. It is taken back with the reserve.
func (l *hostLog) borrow(c *commitFile) error {
	l.mu.Lock()
	l.reserve.spend()
	l.mu.Unlock()
	return c.release()
}

// put appends one entry to the file. A part of an entry is taken back. Called with mu held.
func (l *hostLog) put(e encoded) error {
	buf, head := appendEntry(l.buf[:0], e.payload, l.seq+1, l.head)
	l.buf = buf
	if cap(l.buf) > 1<<20 {
		l.buf = nil
	}
	if _, err := l.f.Write(buf); err != nil {
		if cut := l.f.Truncate(l.off); cut != nil {
			l.broken = fmt.Errorf("%w: take back part of an entry: %w", ErrUnwritable, cut)
		}
		return fmt.Errorf("%w: %w", ErrUnwritable, err)
	}
	l.off += int64(len(buf))
	l.quota.add(int64(len(buf)))
	l.seq++
	l.since++
	l.head = head
	switch e.kind {
	case flow.SessionStarted:
		l.open[e.session] = e.tape
	case flow.SessionEnded:
		delete(l.open, e.session)
	}
	return nil
}

// pause makes a checkpoint, and turns to a new segment when this one is full,
// which then starts with a checkpoint of its own. Called with mu held.
func (l *hostLog) pause() error {
	if err := l.checkpoint(false); err != nil {
		return err
	}
	if l.off < l.config.SegmentBytes {
		return nil
	}
	f, err := createSegment(segmentAt(l.dir, l.num+1), l.seq+1, l.head)
	if l.spend(err) {
		err = errors.Join(err, l.say(Full, nil))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnwritable, err)
	}
	l.retired = append(l.retired, l.f)
	l.f, l.off = f, segmentHead
	l.num++
	l.quota.add(segmentHead)
	return l.checkpoint(false)
}

// checkpoint signs where the log stands. Called with mu held.
func (l *hostLog) checkpoint(closing bool) error {
	c := claims{Every: l.config.CheckpointEntries, Closing: closing}
	if l.config.Counters != nil {
		c.Counters = l.config.Counters()
	}
	for _, tape := range l.open {
		c.Open = append(c.Open, tape)
	}
	slices.Sort(c.Open)
	cp, err := sign(l.signer, l.config.Host, l.seq, l.head, c)
	if err != nil {
		return err
	}
	l.signed = cp.Note
	result := map[string]any{"note": cp.Note, "every": c.Every}
	if c.Counters != nil {
		result["counters"] = c.Counters
	}
	if c.Open != nil {
		result["open"] = c.Open
	}
	if closing {
		result["closing"] = true
	}
	if err := l.say(Checkpointed, result); err != nil {
		return err
	}
	l.since = 0
	return nil
}

// checkpointIfNew makes a checkpoint if there are entries since the last.
func (l *hostLog) checkpointIfNew() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since == 0 || l.broken != nil {
		return l.broken
	}
	return l.checkpoint(false)
}

// note makes a checkpoint now.
func (l *hostLog) note() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return "", l.broken
	}
	err := l.checkpoint(false)
	return l.signed, err
}

// createSegment makes a segment's file, with its header, for appending.
func createSegment(s segment, seq uint64, prev chain) (*os.File, error) {
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	_, err = f.Write(segmentHeader(seq, prev))
	if err == nil {
		err = syncDir(filepath.Dir(s.path))
	}
	if err != nil {
		f.Close()
		os.Remove(s.path)
		return nil, fmt.Errorf("create segment: %w", err)
	}
	return f, nil
}

// syncDir puts a directory's names on disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// flush puts everything written so far on disk. After an error nothing is
// written any more: the kernel may have dropped what it could not write.
func (l *hostLog) flush() error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	retired, f, seq, broken := l.retired, l.f, l.seq, l.broken
	l.retired = nil
	clean := l.synced == seq
	l.mu.Unlock()
	if broken != nil || clean {
		return broken
	}
	var err error
	for _, old := range retired {
		err = errors.Join(err, unix.Fdatasync(int(old.Fd())), old.Close())
	}
	err = errors.Join(err, unix.Fdatasync(int(f.Fd())))
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.broken = fmt.Errorf("%w: sync the log: %w", ErrUnwritable, err)
		return l.broken
	}
	l.synced = max(l.synced, seq)
	return nil
}

// onDisk says whether entry seq is.
func (l *hostLog) onDisk(seq uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.synced >= seq
}

// mark tells the place of the newest entry.
func (l *hostLog) mark() Mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Mark{Host: l.config.Host, Seq: l.seq, Head: hex.EncodeToString(l.head[:])}
}

// close writes the last checkpoint, flushes and closes.
func (l *hostLog) close() error {
	_, err := l.append(flow.Event{Type: flow.RecorderStopped})
	l.mu.Lock()
	if l.broken == nil {
		err = errors.Join(err, l.checkpoint(true))
	}
	l.mu.Unlock()
	err = errors.Join(err, l.flush())
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil {
		l.broken = ErrEnded
	}
	return errors.Join(err, l.f.Close())
}
