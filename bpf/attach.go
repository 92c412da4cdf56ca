package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// ErrGone means that an enrolled cgroup does not exist any more.
var ErrGone = errors.New("the cgroup is gone")

// maxDepth is MAX_DEPTH of settings.h: how far down the root's programs look for a task's enrollment.
const maxDepth = 16

// ErrDepth means that a cgroup is the root, or too far below it to be found again.
var ErrDepth = fmt.Errorf("only cgroups 1 to %d steps below the root can be enrolled", maxDepth)

// Enroll attaches the programs to the cgroup directory at path, under the
// enrollment's number. Doing it again replaces the programs without a gap, and those that it had
// under another number are taken off after them.
func (d *Door) Enroll(path string, id uint32) error {
	if id == 0 {
		return errors.New("enroll: 0 is the root's number")
	}
	cgroup, err := cgroupID(path)
	if err != nil {
		return fmt.Errorf("enroll: %w", err)
	}
	depth := strings.Count(filepath.Clean(path), "/") - strings.Count(filepath.Clean(d.options.CgroupRoot), "/")
	if depth < 1 || depth > maxDepth {
		return fmt.Errorf("enroll %s: %w", path, ErrDepth)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := notElsewhere(d.pin("enrolled", number(id)), path, d.options.CgroupRoot); err != nil {
		return fmt.Errorf("enroll %s as %d: %w", path, id, err)
	}
	if err := d.count(id); err != nil {
		return fmt.Errorf("enroll: %w", err)
	}
	if err := d.useLevel(depth); err != nil {
		return fmt.Errorf("enroll %s: %w", path, err)
	}
	if err := d.mark(cgroup); err != nil {
		return fmt.Errorf("enroll %s: %w", path, err)
	}
	before := d.numberOf(cgroup)
	if err := d.maps[captureMapEnrolled].Put(cgroup, id); err != nil {
		return fmt.Errorf("enroll %s: %w", path, err)
	}
	if err := d.attach(id, path, d.pin("enrolled", number(id)), atEnrolled); err != nil {
		return fmt.Errorf("enroll %s: %w", path, explain(err)) // what is attached stays: the half enrolled are refused
	}
	if before == 0 || before == id {
		return nil
	}
	return d.takeOff(before) // a registry that was lost had it so; with both, each connection is turned twice and refused
}

// numberOf is the number a cgroup is enrolled as; 0: none.
func (d *Door) numberOf(cgroup uint64) uint32 {
	var id uint32
	if err := d.maps[captureMapEnrolled].Lookup(cgroup, &id); err != nil {
		return 0
	}
	return id
}

// useLevel has the root's programs look at cgroups so far below the root. mu is held.
func (d *Door) useLevel(depth int) error {
	var used uint32
	if err := d.maps[captureMapLevels].Lookup(uint32(0), &used); err != nil {
		return err
	}
	return d.maps[captureMapLevels].Put(uint32(0), used|1<<depth)
}

// mark has the root's programs look a cgroup up. mu is held.
func (d *Door) mark(cgroup uint64) error {
	marks := d.maps[captureMapMarks]
	word, bit := placeOf(cgroup, marks.MaxEntries())
	var bits uint64
	if err := marks.Lookup(word, &bits); err != nil {
		return err
	}
	return marks.Put(word, bits|bit)
}

// markAll marks what an earlier daemon enrolled, and takes the marks of what is gone away.
// Nobody else has the maps: Open is not done.
func (d *Door) markAll() error {
	marks := d.maps[captureMapMarks]
	all := make([]uint64, marks.MaxEntries())
	var cgroup uint64
	var id uint32
	known := d.maps[captureMapEnrolled].Iterate()
	for known.Next(&cgroup, &id) {
		word, bit := placeOf(cgroup, marks.MaxEntries())
		all[word] |= bit
	}
	if err := known.Err(); err != nil {
		return err
	}
	for word, bits := range all {
		if err := marks.Put(uint32(word), bits); err != nil {
			return err
		}
	}
	return nil
}

// placeOf is where a cgroup's bit is among so many words of marks.
func placeOf(cgroup uint64, words uint32) (word uint32, bit uint64) {
	at := cgroup % (uint64(words) * 64)
	return uint32(at / 64), 1 << (at % 64)
}

func number(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

// cgroupID is what bpf_get_current_cgroup_id returns for tasks in the cgroup:
// the inode of its directory.
func cgroupID(path string) (uint64, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%s: %w", path, ErrGone)
	}
	if err != nil {
		return 0, err
	}
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil || s.Type != unix.CGROUP2_SUPER_MAGIC {
		return 0, fmt.Errorf("%s is not a cgroup v2 directory", path)
	}
	return info.Sys().(*syscall.Stat_t).Ino, nil
}

// count makes the enrollment's counters; the programs only find them.
func (d *Door) count(id uint32) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return err
	}
	for t := range captureTallyTALLIES {
		err := d.maps[captureMapCounts].Update(captureCountKey{Enrollment: id, Tally: t}, make([]uint64, cpus), ebpf.UpdateNoExist)
		if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			return fmt.Errorf("counters: %w", err)
		}
	}
	return nil
}

// attach loads the programs with their constants and hangs each at path.
func (d *Door) attach(id uint32, path, pins string, list []attachment) error {
	spec, err := loadCapture()
	if err != nil {
		return err
	}
	constants := map[string]any{
		captureVarEnrollment: id,
		captureVarProxyPort:  uint32(d.options.Port),
		captureVarProxyNetns: d.netns,
	}
	for name, value := range constants {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("constant %s: %w", name, err)
		}
	}
	keep(spec, list)
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: d.maps})
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer c.Close() // links and pins hold what they need
	if err := os.MkdirAll(pins, 0o700); err != nil {
		return fmt.Errorf("pin: %w", err)
	}
	for _, a := range list {
		if err := d.hang(c.Programs[a.program], a, path, filepath.Join(pins, a.program)); err != nil {
			return fmt.Errorf("%s: %w", a.program, err)
		}
	}
	return nil
}

// keep leaves out the programs that are not in list. The core programs load together:
// each kernel that lacks one of them is below what Chaperone supports.
func keep(spec *ebpf.CollectionSpec, list []attachment) {
	wanted := map[string]bool{}
	for _, a := range list {
		wanted[a.program] = true
		spec.Programs[a.program].AttachType = a.at
	}
	for name := range spec.Programs {
		if !wanted[name] {
			delete(spec.Programs, name)
		}
	}
}

// hang attaches one program, or puts it in the place of the one that is pinned.
func (d *Door) hang(p *ebpf.Program, a attachment, path, pin string) error {
	old, err := link.LoadPinnedLink(pin, nil)
	switch {
	case err == nil && hangsOn(old, path):
		if err := old.Update(p); err != nil {
			return errors.Join(fmt.Errorf("replace: %w", err), old.Close())
		}
		d.hold(pin, old)
		return nil
	case err == nil: // on a cgroup of that name that was removed
		_ = old.Unpin()
		_ = old.Close()
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("pinned link: %w", err)
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: path, Attach: a.at, Program: p})
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	if err := l.Pin(pin); err != nil {
		return errors.Join(fmt.Errorf("pin: %w", err), l.Close())
	}
	d.hold(pin, l)
	return nil
}

// hangsOn says that a link is attached to the cgroup that is now at path. The
// name may be another cgroup's by now; a link of a removed cgroup lives on for
// some 50 ms and then shows id 0.
func hangsOn(l link.Link, path string) bool {
	info, err := l.Info()
	if err != nil || info.Cgroup() == nil {
		return false
	}
	id, err := cgroupID(path)
	return err == nil && id == info.Cgroup().CgroupId
}

func (d *Door) hold(pin string, l link.Link) {
	if old := d.links[pin]; old != nil && old != l {
		_ = old.Close()
	}
	d.links[pin] = l
}

// Unenroll takes the programs off an enrolled cgroup, and leaves those of another that are pinned under
// the number. Connections it has keep their origin. path may be empty when the cgroup is gone.
func (d *Door) Unenroll(path string, id uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	if cgroup, err := cgroupID(path); err == nil {
		errs = append(errs, d.forget(cgroup))
	} else {
		errs = append(errs, d.forgetNumber(id))
	}
	if path != "" {
		if err := notElsewhere(d.pin("enrolled", number(id)), path, d.options.CgroupRoot); err != nil {
			return errors.Join(append(errs, fmt.Errorf("unenroll %s as %d: %w", path, id, err))...)
		}
	}
	return errors.Join(append(errs, d.takeOff(id))...)
}

// takeOff detaches all that is pinned under a number, and forgets its counters. mu is held.
func (d *Door) takeOff(id uint32) error {
	var errs []error
	dir := d.pin("enrolled", number(id))
	pinned, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, p := range pinned {
		errs = append(errs, d.drop(filepath.Join(dir, p.Name())))
	}
	for t := range captureTallyTALLIES {
		_ = d.maps[captureMapCounts].Delete(captureCountKey{Enrollment: id, Tally: t})
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// forget takes a cgroup off the list the root's programs look at.
func (d *Door) forget(cgroup uint64) error {
	err := d.maps[captureMapEnrolled].Delete(cgroup)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

// forgetNumber does so for a cgroup that is gone, whose id nobody can tell.
func (d *Door) forgetNumber(id uint32) error {
	var cgroup uint64
	var number uint32
	var found []uint64
	entries := d.maps[captureMapEnrolled].Iterate()
	for entries.Next(&cgroup, &number) {
		if number == id {
			found = append(found, cgroup)
		}
	}
	errs := []error{entries.Err()}
	for _, cgroup := range found {
		errs = append(errs, d.forget(cgroup))
	}
	return errors.Join(errs...)
}

// drop detaches what is pinned at pin. Without being asked to, the kernel detaches some
// time after the last reference is gone, and a program in whose place another has been put would still run.
func (d *Door) drop(pin string) error {
	l := d.links[pin]
	delete(d.links, pin)
	if l == nil {
		l, _ = link.LoadPinnedLink(pin, nil) // gone, or nothing that could be detached
	}
	if l != nil {
		_ = l.Detach() // from a cgroup that is gone it is detached already
		_ = l.Close()
	}
	if err := os.Remove(pin); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unpin: %w", err)
	}
	return nil
}
