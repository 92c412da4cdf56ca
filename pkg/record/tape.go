package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A tape on disk, integers little-endian:
//
//	| "chaptap1" | start, ns since 1970 u64 |      the file's head
//	| len u32 | crc u32 | kind u8 | after u64 | body [len-9]byte |    an entry
//
// crc is CRC-32C over len and everything behind crc; after is the time since
// start in nanoseconds. Length 0 ends a tape that was not ended: the rest is allocated space.
const (
	tapeMagic = "chaptap1"
	tapeHead  = 16
	frameHead = 17
	// MaxBody is the largest body of one entry.
	MaxBody = 16 << 20
)

// Tape takes down one session. Append and Sync are safe for concurrent use.
// Nothing can be appended after an error or End.
type Tape struct {
	rec     *Recorder
	session string
	path    string // below the record's directory
	begun   uint64 // number of its session.started
	start   time.Time
	noted   atomic.Bool // known to the flusher

	// syncing is held while the file is synced, hashed or closed; taken before mu.
	syncing sync.Mutex
	digest  digester
	closed  bool

	// mu guards all below.
	mu       sync.Mutex
	w        window
	f        *os.File
	head     [frameHead]byte
	size     int64 // of whole entries
	safe     int64 // known to be on disk, here or in the commit file
	synced   int64 // known to be on disk here
	requests uint64
	err      error // set once
}

// create makes the tape's file, with its head and first entry.
func (t *Tape) create(path string, meta []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: create tape: %w", ErrUnwritable, err)
	}
	t.f, t.w.f = f, f
	var head [tapeHead]byte
	copy(head[:], tapeMagic)
	binary.LittleEndian.PutUint64(head[8:], uint64(t.start.UnixNano()))
	err = t.w.put(head[:])
	t.rec.quota.add(t.w.allocated())
	if err == nil {
		t.size = tapeHead
		err = t.append(KindMeta, meta)
	}
	if err != nil {
		t.rec.quota.add(-t.w.allocated())
		return fmt.Errorf("%w: create tape: %w", ErrUnwritable, errors.Join(err, t.w.close(), f.Close(), os.Remove(path)))
	}
	t.noted.Store(true)
	t.rec.flusher.note(t)
	return nil
}

// Append writes one entry. When it returns, the entry has left the process:
// it survives a killed daemon. An error wraps ErrUnwritable, ErrQuota, ErrTooLarge or ErrEnded, and nothing more may pass.
func (t *Tape) Append(kind Kind, body []byte) error {
	if len(body) > MaxBody {
		return fmt.Errorf("append %d bytes: %w", len(body), ErrTooLarge)
	}
	t.mu.Lock()
	err := t.append(kind, body)
	t.mu.Unlock()
	if err == nil && !t.noted.Load() && t.noted.CompareAndSwap(false, true) {
		t.rec.flusher.note(t)
	}
	return err
}

// append is Append with mu held. The memory it writes to is a file's: should
// the kernel fail to provide it (a broken disk), the fault becomes an error.
func (t *Tape) append(kind Kind, body []byte) (err error) {
	if t.err != nil {
		return t.err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			err = t.faulted(fault)
		}
	}()
	if growth := t.w.growth(frameHead + len(body)); growth > 0 {
		if t.err = t.rec.quota.admit(growth); t.err != nil {
			return t.err
		}
	}
	binary.LittleEndian.PutUint32(t.head[:], uint32(9+len(body)))
	t.head[8] = byte(kind)
	binary.LittleEndian.PutUint64(t.head[9:], uint64(max(0, time.Since(t.start))))
	crc := crc32.Update(0, castagnoli, t.head[:4])
	crc = crc32.Update(crc, castagnoli, t.head[8:])
	binary.LittleEndian.PutUint32(t.head[4:], crc32.Update(crc, castagnoli, body))
	before := t.w.allocated()
	if err := t.put(body); err != nil {
		t.err = fmt.Errorf("%w: %w", ErrUnwritable, err)
		return t.err
	}
	if grown := t.w.allocated() - before; grown != 0 {
		t.rec.quota.add(grown)
	}
	t.size = t.w.end()
	if kind == KindVerdict {
		t.requests++
	}
	return nil
}

func (t *Tape) put(body []byte) error {
	if err := t.w.put(t.head[:]); err != nil {
		return err
	}
	return t.w.put(body)
}

// faulted makes an error of a memory fault in the mapped file. Other panics go on.
func (t *Tape) faulted(fault any) error {
	var re runtime.Error
	if e, ok := fault.(error); !ok || !errors.As(e, &re) {
		panic(fault)
	}
	if _, memory := fault.(interface{ Addr() uintptr }); !memory {
		panic(fault)
	}
	t.err = fmt.Errorf("%w: the file's memory cannot be written", ErrUnwritable)
	return t.err
}

// Sync returns when all that was appended is on disk, and the session's start with it.
func (t *Tape) Sync() error {
	t.mu.Lock()
	clean, err := t.safe == t.size, t.err
	t.mu.Unlock()
	if err != nil || clean {
		return err
	}
	return t.rec.syncer.sync(t)
}

// flush puts the tape on disk. After an error nothing can be appended.
func (t *Tape) flush() error {
	if !t.rec.log.onDisk(t.begun) {
		if err := t.rec.log.flush(); err != nil {
			return err
		}
	}
	t.syncing.Lock()
	defer t.syncing.Unlock()
	t.mu.Lock()
	size, clean := t.size, t.synced == t.size
	t.mu.Unlock()
	if clean {
		return nil
	}
	if t.closed {
		return ErrEnded
	}
	if err := unix.Fdatasync(int(t.f.Fd())); err != nil {
		return t.fail(fmt.Errorf("%w: sync the tape: %w", ErrUnwritable, err))
	}
	t.digest.keepUp(t.f, size)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.synced = max(t.synced, size)
	t.safe = max(t.safe, size)
	return nil
}

func (t *Tape) fail(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
	return err
}
