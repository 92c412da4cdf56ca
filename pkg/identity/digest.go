package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// maxExe bounds, in bytes, the executables that are digested.
const maxExe = 1 << 30

// allowance is how much of one enrollment's executables is digested a minute, in bytes: a file that is
// touched before each connection would otherwise have the daemon do nothing else.
const allowance = 2 << 30

var (
	errTooLarge = errors.New("executable too large to digest")
	errTooMuch  = errors.New("more executables than are digested in a minute")
)

// digests remembers the digests of executables by what the file system knows of
// them. mu guards all of it.
type digests struct {
	mu     sync.Mutex
	known  map[fileKey]string
	minute time.Time        // since when spent counts
	spent  map[uint32]int64 // bytes, by enrollment
}

// fileKey changes whenever a file's content does.
type fileKey struct {
	dev, inode   uint64
	size         int64
	mtime, ctime syscall.Timespec
}

// keyOf identifies the file at path, following links.
func keyOf(path string) (fileKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileKey{}, err
	}
	return keyIn(info), nil
}

func keyIn(info os.FileInfo) fileKey {
	s := info.Sys().(*syscall.Stat_t)
	return fileKey{uint64(s.Dev), s.Ino, s.Size, s.Mtim, s.Ctim}
}

// of is the SHA-256, in hex, of the executable at path (/proc/PID/exe: the one that runs), for a process of
// an enrollment.
func (d *digests) of(path string, enrollment uint32, now time.Time) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	k := keyIn(info)
	if sum, ok := d.recall(k); ok {
		return sum, nil
	}
	if k.size > maxExe {
		return "", errTooLarge
	}
	if !d.spend(enrollment, k.size, now) {
		return "", errTooMuch
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, maxExe)); err != nil {
		return "", err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	d.remember(k, sum)
	return sum, nil
}

// spend takes size bytes off an enrollment's allowance, if they are left.
func (d *digests) spend(enrollment uint32, size int64, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spent == nil || now.Sub(d.minute) > time.Minute {
		d.minute, d.spent = now, map[uint32]int64{}
	}
	if d.spent[enrollment]+size > allowance {
		return false
	}
	d.spent[enrollment] += size
	return true
}

func (d *digests) recall(k fileKey) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	sum, ok := d.known[k]
	return sum, ok
}

func (d *digests) remember(k fileKey, sum string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil || len(d.known) >= keepAtMost {
		d.known = map[fileKey]string{}
	}
	d.known[k] = sum
}
