package record

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// window is the mapped end of a growing file. Only allocated space is mapped:
// a full disk is then an error when the window moves, not a fault when it is written to.
type window struct {
	f    *os.File
	mem  []byte
	at   int64 // offset of mem in f
	used int   // of mem
}

// steps are the sizes of successive windows, in bytes: small for the many
// sessions that say little, large for those that say much.
var steps = []int64{16 << 10, 64 << 10, 256 << 10, 1 << 20}

// step is the size of the window that starts at offset at. It is a multiple of the page size.
func step(at int64) int64 {
	size := steps[len(steps)-1]
	for _, s := range steps {
		if at < s {
			size = s
			break
		}
	}
	page := int64(os.Getpagesize())
	return (size + page - 1) / page * page
}

// growth is how many bytes are allocated when n more are put; 0 while they fit.
func (w *window) growth(n int) int64 {
	end := w.allocated()
	for end-w.end() < int64(n) {
		end += step(end)
	}
	return end - w.allocated()
}

// move maps the next window behind the current one.
func (w *window) move() error {
	at := w.at + int64(len(w.mem))
	size := step(at)
	if err := allocate(w.f, at, size); err != nil {
		return err
	}
	mem, err := unix.Mmap(int(w.f.Fd()), at, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map: %w", err)
	}
	if err := w.close(); err != nil {
		return errors.Join(err, unix.Munmap(mem))
	}
	w.mem, w.at, w.used = mem, at, 0
	return nil
}

// direct is from how many bytes on writing costs less than copying into mapped memory, where every
// page is first read, zeroed and faulted in.
const direct = 8 << 10

// put writes b to the end, moving on as far as need be.
func (w *window) put(b []byte) error {
	for {
		n := min(len(b), len(w.mem)-w.used)
		if n < direct {
			copy(w.mem[w.used:], b[:n])
		} else if _, err := w.f.WriteAt(b[:n], w.end()); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		w.used += n
		b = b[n:]
		if len(b) == 0 {
			return nil
		}
		if err := w.move(); err != nil {
			return err
		}
	}
}

// end is the offset behind what was put.
func (w *window) end() int64 { return w.at + int64(w.used) }

// allocated is the offset behind the window.
func (w *window) allocated() int64 { return w.at + int64(len(w.mem)) }

// close unmaps; what was put stays with the kernel.
func (w *window) close() error {
	if w.mem == nil {
		return nil
	}
	mem := w.mem
	w.at += int64(len(mem))
	w.mem, w.used = nil, 0
	if err := unix.Munmap(mem); err != nil {
		return fmt.Errorf("unmap: %w", err)
	}
	return nil
}

// allocate gives f real space at [at, at+size). Where the file system cannot
// promise space, zeros are written.
func allocate(f *os.File, at, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, at, size)
	for errors.Is(err, syscall.EINTR) {
		err = unix.Fallocate(int(f.Fd()), 0, at, size)
	}
	if errors.Is(err, syscall.EOPNOTSUPP) {
		_, err = f.WriteAt(make([]byte, size), at)
	}
	if err != nil {
		return fmt.Errorf("allocate: %w", err)
	}
	return nil
}
