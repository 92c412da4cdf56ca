package record

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// digestStep is from which lag on the digest of a growing tape is brought
// forward, and digestMost by how much at a time, in bytes (about 3 ms): somebody may be waiting for the tape.
// What is left is hashed when the session ends.
const (
	digestStep = 1 << 20
	digestMost = 4 << 20
)

// digester hashes a file that grows, behind the back of those who write it.
type digester struct {
	hash hash.Hash
	done int64
}

// keepUp hashes up to size once there is enough to do. An error shows again in sum.
func (d *digester) keepUp(f io.ReaderAt, size int64) {
	if size-d.done >= digestStep {
		_ = d.advance(f, min(size, d.done+digestMost))
	}
}

func (d *digester) advance(f io.ReaderAt, size int64) error {
	if d.hash == nil {
		d.hash = sha256.New()
	}
	n, err := io.CopyBuffer(onlyWriter{d.hash}, io.NewSectionReader(f, d.done, size-d.done), make([]byte, min(size-d.done+1, 64<<10)))
	d.done += n
	if err == nil && d.done != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("digest: %w", err)
	}
	return nil
}

// sum is the digest of the file's first size bytes: "sha256:" and hex.
func (d *digester) sum(f io.ReaderAt, size int64) (string, error) {
	if err := d.advance(f, size); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(d.hash.Sum(nil)), nil
}

// onlyWriter hides what else a writer can do, so that io.CopyBuffer uses its buffer.
type onlyWriter struct{ io.Writer }
