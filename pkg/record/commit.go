package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// The commit file makes what many tapes wait for durable with one write and
// one fdatasync: the tapes' new bytes are written there, behind each other, and the tapes themselves are
// synced when the file is full and begins anew. Only a power cut ever makes it read.
//
// A batch, integers little-endian, at a multiple of 512 bytes:
//
//	| crc u32 | len u32 | generation u64 | number u32 | parts, len bytes |
//
// crc is CRC-32C over everything behind it. A part:
//
//	| offset in the tape u64 | len u32 | length of path u16 | path | len bytes |
const (
	commitName  = "commit"
	commitBytes = 4 << 20
	commitAlign = 512
	batchHead   = 20
	partHead    = 14
	// maxPart is how many bytes of one tape go through the commit file at a
	// time: those who have more to sync do it themselves.
	maxPart  = 64 << 10
	maxBatch = 1 << 20
)

type commitFile struct {
	// writing is held while a batch is written and synced; it guards all but owed.
	writing    sync.Mutex
	f          *os.File
	generation uint64
	number     uint32 // of the next batch
	off        int64
	buf        []byte

	// released says that the file is empty: its space went to the log's last words. It is set and
	// cleared with writing held, and read first without it: retake is called under the log's mutex, which turn may wait for.
	released atomic.Bool

	// mu guards owed: tapes with bytes that are on disk in the commit file alone.
	mu   sync.Mutex
	owed map[*Tape]bool
}

// openCommit takes over the commit file in dir, or makes it: all written once,
// so that writing to it again changes no metadata. On a full disk it is left released.
func openCommit(dir string) (*commitFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, commitName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open commit file: %w", err)
	}
	c := &commitFile{f: f, owed: map[*Tape]bool{}}
	info, err := f.Stat()
	if err == nil && info.Size() != commitBytes {
		c.released.Store(true)
		err = c.retake()
	}
	if err != nil && !diskFull(err) {
		f.Close()
		return nil, fmt.Errorf("%w: make commit file: %w", ErrUnwritable, err)
	}
	return c, nil
}

// release puts the tapes that lean on the file on disk, and gives its space back. Until it is taken
// again, each tape is synced by itself.
func (c *commitFile) release() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.turn(); err != nil {
		return err
	}
	c.released.Store(true)
	if err := c.f.Truncate(0); err != nil {
		return fmt.Errorf("%w: release the commit file: %w", ErrUnwritable, err)
	}
	return nil
}

// retake takes the space of a released file again.
func (c *commitFile) retake() error {
	if !c.released.Load() {
		return nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	err := c.f.Truncate(0)
	if err == nil {
		_, err = c.f.WriteAt(make([]byte, commitBytes), 0)
	}
	if err = errors.Join(err, c.f.Sync()); err != nil {
		return errors.Join(err, c.f.Truncate(0))
	}
	c.number, c.off = 0, 0
	c.released.Store(false)
	return nil
}

// commit makes what was appended to the tapes durable. It returns an error for each tape.
func (c *commitFile) commit(tapes []*Tape) []error {
	c.writing.Lock()
	if c.released.Load() {
		c.writing.Unlock()
		return eachFlushed(tapes)
	}
	defer c.writing.Unlock()
	errs := make([]error, len(tapes))
	upto := make([]int64, len(tapes))
	c.buf = append(c.buf[:0], make([]byte, batchHead)...)
	for i, t := range tapes {
		c.buf, upto[i], errs[i] = t.pending(c.buf)
	}
	var failed error
	if len(c.buf) > batchHead {
		failed = c.write(c.buf)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, t := range tapes {
		switch {
		case failed != nil:
			errs[i] = t.fail(failed)
		case errs[i] == nil && t.promise(upto[i]):
			c.owed[t] = true
		}
	}
	return errs
}

// eachFlushed syncs each tape by itself.
func eachFlushed(tapes []*Tape) []error {
	errs := make([]error, len(tapes))
	for i, t := range tapes {
		errs[i] = t.flush()
	}
	return errs
}

// write writes a batch and syncs it. Called with writing held.
func (c *commitFile) write(buf []byte) error {
	if c.off+int64(len(buf)) > commitBytes {
		if err := c.turn(); err != nil {
			return err
		}
	}
	binary.LittleEndian.PutUint32(buf[4:], uint32(len(buf)-batchHead))
	binary.LittleEndian.PutUint64(buf[8:], c.generation)
	binary.LittleEndian.PutUint32(buf[16:], c.number)
	binary.LittleEndian.PutUint32(buf, crc32.Checksum(buf[4:], castagnoli))
	_, err := c.f.WriteAt(buf, c.off)
	if err == nil {
		err = unix.Fdatasync(int(c.f.Fd()))
	}
	if err != nil {
		return fmt.Errorf("%w: commit: %w", ErrUnwritable, err)
	}
	c.number++
	c.off += (int64(len(buf)) + commitAlign - 1) / commitAlign * commitAlign
	return nil
}

// turn syncs the tapes that lean on the commit file, and begins it anew.
func (c *commitFile) turn() error {
	c.mu.Lock()
	owed := c.owed
	c.owed = map[*Tape]bool{}
	c.mu.Unlock()
	lane := newLanes()
	for t := range owed {
		lane.run(t.flush)
	}
	if err := lane.wait(); err != nil {
		return err
	}
	c.generation++
	c.number, c.off = 0, 0
	return nil
}

// settle forgets a tape that was synced for good.
func (c *commitFile) settle(t *Tape) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.owed, t)
}

// part is a piece of a tape, as the commit file has it.
type part struct {
	off  int64
	body []byte
}

// load reads what the last run committed, by the tapes' paths, and makes the
// file ready for this one: what was read must be in its place before the first commit.
func (c *commitFile) load() (map[string][]part, error) {
	b := make([]byte, commitBytes)
	if _, err := c.f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read commit file: %w", err)
	}
	parts := map[string][]part{}
	generation := binary.LittleEndian.Uint64(b[8:])
	c.generation = generation + 1
	for off, number := 0, uint32(0); off+batchHead <= len(b); number++ {
		batch := b[off:]
		n := int(binary.LittleEndian.Uint32(batch[4:]))
		if n == 0 || n > len(batch)-batchHead || binary.LittleEndian.Uint64(batch[8:]) != generation ||
			binary.LittleEndian.Uint32(batch[16:]) != number ||
			crc32.Checksum(batch[4:batchHead+n], castagnoli) != binary.LittleEndian.Uint32(batch) {
			break
		}
		cutParts(batch[batchHead:batchHead+n], parts)
		off += (batchHead + n + commitAlign - 1) / commitAlign * commitAlign
	}
	return parts, nil
}

// cutParts reads a batch's parts. The checksum was right, so only a bug can make them malformed.
func cutParts(b []byte, parts map[string][]part) {
	for len(b) >= partHead {
		off, n, p := binary.LittleEndian.Uint64(b), int(binary.LittleEndian.Uint32(b[8:])), int(binary.LittleEndian.Uint16(b[12:]))
		b = b[partHead:]
		if n < 0 || p+n > len(b) {
			return
		}
		path := string(b[:p])
		parts[path] = append(parts[path], part{off: int64(off), body: b[p : p+n]})
		b = b[p+n:]
	}
}

// restore puts committed parts back into a tape. After a mere kill they are there already.
func restore(path string, parts []part) error {
	if len(parts) == 0 {
		return nil
	}
	f, err := openRegular(path, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("restore tape: %w", err)
	}
	for _, p := range parts {
		if _, write := f.WriteAt(p.body, p.off); write != nil {
			err = fmt.Errorf("restore tape: %w", write)
			break
		}
	}
	return errors.Join(err, f.Close())
}

// pending appends a part with what is not yet durable, and returns how far it
// reaches. After an error b is as it was.
func (t *Tape) pending(b []byte) ([]byte, int64, error) {
	t.syncing.Lock()
	defer t.syncing.Unlock()
	t.mu.Lock()
	size, safe := t.size, t.safe
	t.mu.Unlock()
	if size == safe {
		return b, size, nil
	}
	if t.closed {
		return b, 0, ErrEnded
	}
	before := len(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(safe))
	b = binary.LittleEndian.AppendUint32(b, uint32(size-safe))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(t.path)))
	b = append(b, t.path...)
	at := len(b)
	b = append(b, make([]byte, size-safe)...)
	if _, err := t.f.ReadAt(b[at:], safe); err != nil {
		return b[:before], 0, t.fail(fmt.Errorf("%w: read back the tape: %w", ErrUnwritable, err))
	}
	return b, size, nil
}

// promise notes that the tape is durable as far as upto, in the commit file,
// and says whether the tape itself lags behind.
func (t *Tape) promise(upto int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.safe = max(t.safe, upto)
	return t.synced < t.safe
}

// small says whether a tape's waiting bytes go through the commit file.
func (t *Tape) small() (int64, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.size - t.safe
	return n, n <= maxPart
}
