// Package enroll binds cgroups to identities: it knows which are enrolled, keeps
// that across restarts, makes cgroups to run commands in, and proves with a
// canary that the kernel does what was asked.
//
// # Why
//
// A cgroup is the one thing a process cannot talk itself out of: children
// inherit it, and the kernel's hooks hang on it. Enrolling by pid or by executable would
// race with fork and exec; a pid is therefore enrolled by moving it into a cgroup of its own.
package enroll

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kernel attaches and detaches: *bpf.Door.
type Kernel interface {
	Enroll(dir string, id uint32) error
	Unenroll(dir string, id uint32) error
	Enrolled() ([]uint32, error) // the numbers that are taken
}

// Enrollment is a cgroup bound to an identity.
type Enrollment struct {
	ID       uint32    `json:"id"` // never used again for another
	Identity string    `json:"identity"`
	Cgroup   string    `json:"cgroup"` // path below the cgroup v2 mount, "/" first
	Source   string    `json:"source"`
	Since    time.Time `json:"since"`
	// Inode of the cgroup's directory: another cgroup with the same path is another.
	Inode uint64 `json:"inode"`
}

// What can be wrong with an enrollment.
var (
	ErrNotEnrolled = errors.New("not enrolled")
	ErrOverlap     = errors.New("overlaps another enrollment")
	ErrSelf        = errors.New("the daemon itself would be enrolled")
	ErrAncestor    = errors.New("the daemon descends from it: so may whoever asks for its end, and nobody would be answered")
	ErrNoCgroup    = errors.New("no such cgroup")
)

// OthersError says whose an enrollment is that was to end as another's.
type OthersError struct{ Identity string }

func (e OthersError) Error() string { return "it is enrolled for " + e.Identity }

// Registry is what is enrolled on this host. mu guards what follows it.
type Registry struct {
	root   string
	file   string
	kernel Kernel

	mu    sync.Mutex
	state state
}

// state is what is on disk.
type state struct {
	Next        uint32       `json:"next"`
	Enrollments []Enrollment `json:"enrollments"`
}

// registryFile is in the directory that Open is given.
const registryFile = "enrollments.json"

// Open reads the registry and enrolls again what it holds: the programs
// of an earlier daemon are replaced by this one's without a gap. Cgroups that are gone are let go.
func Open(root, dir string, k Kernel) (*Registry, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open enrollments: %w", err)
	}
	r := &Registry{root: root, file: filepath.Join(dir, registryFile), kernel: k, state: state{Next: 1}}
	data, err := os.ReadFile(r.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open enrollments: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(data, &r.state); err != nil {
			return nil, fmt.Errorf("open enrollments: %s is damaged: %w", r.file, err)
		}
	}
	if err := r.skipTaken(); err != nil {
		return nil, fmt.Errorf("open enrollments: %w", err)
	}
	return r, r.again()
}

// skipTaken has new enrollments numbered beyond all that the kernel still has: where the
// state directory was lost, their processes would become whoever gets their number.
func (r *Registry) skipTaken() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken, err := r.kernel.Enrolled()
	for _, id := range taken {
		r.state.Next = max(r.state.Next, id+1)
	}
	return err
}

// again enrolls what was enrolled.
func (r *Registry) again() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var kept []Enrollment
	for _, e := range r.state.Enrollments {
		if r.gone(e) {
			_ = r.kernel.Unenroll("", e.ID) // its programs went with the cgroup; pins and counters are left
			continue
		}
		if err := r.kernel.Enroll(r.dir(e.Cgroup), e.ID); err != nil {
			return fmt.Errorf("enroll %s again: %w", e.Cgroup, err)
		}
		kept = append(kept, e)
	}
	r.state.Enrollments = kept
	return r.save()
}

func (r *Registry) dir(cgroup string) string { return filepath.Join(r.root, cgroup) }

// gone says that an enrollment's cgroup exists no more.
func (r *Registry) gone(e Enrollment) bool {
	inode, err := inodeOf(r.dir(e.Cgroup))
	return err != nil || inode != e.Inode
}

// Add enrolls a cgroup for an identity. Adding the same again is no error.
func (r *Registry) Add(identity, cgroup, source string) (Enrollment, error) {
	cgroup = path.Clean("/" + cgroup)
	inode, err := inodeOf(r.dir(cgroup))
	if err != nil {
		return Enrollment{}, fmt.Errorf("enroll %s: %w", cgroup, ErrNoCgroup)
	}
	if err := r.notOurselves(cgroup); err != nil {
		return Enrollment{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.state.Enrollments {
		if e.Inode == inode && e.Identity == identity {
			return e, nil
		}
		if within(cgroup, e.Cgroup) || within(e.Cgroup, cgroup) {
			return Enrollment{}, fmt.Errorf("enroll %s: %w (%s, for %s)", cgroup, ErrOverlap, e.Cgroup, e.Identity)
		}
	}
	e := Enrollment{ID: r.state.Next, Identity: identity, Cgroup: cgroup, Source: source, Since: time.Now(), Inode: inode}
	r.state.Next++
	r.state.Enrollments = append(r.state.Enrollments, e)
	if err := r.save(); err != nil { // first: a number is never given twice
		r.state.Enrollments = r.state.Enrollments[:len(r.state.Enrollments)-1]
		return Enrollment{}, err
	}
	if err := r.kernel.Enroll(r.dir(cgroup), e.ID); err != nil {
		r.remove(e.ID)
		return Enrollment{}, errors.Join(err, r.kernel.Unenroll(r.dir(cgroup), e.ID), r.save())
	}
	return e, nil
}

// notOurselves refuses cgroups this process is in, and those of its ancestors: the first of
// all processes is everybody's, and what descends from an enrolled one is taken for enrolled.
func (r *Registry) notOurselves(cgroup string) error {
	own, err := OwnCgroup()
	if err != nil {
		return err
	}
	if within(own, cgroup) {
		return fmt.Errorf("enroll %s: %w (its cgroup is %s)", cgroup, ErrSelf, own)
	}
	above, err := ancestors()
	if err != nil {
		return fmt.Errorf("enroll %s: %w", cgroup, err)
	}
	for _, pid := range above {
		theirs, err := CgroupOf(pid)
		if ended(err) {
			continue
		}
		if err != nil {
			return err
		}
		if within(theirs, cgroup) {
			return fmt.Errorf("enroll %s: %w (process %d is in it)", cgroup, ErrAncestor, pid)
		}
	}
	return nil
}

// Remove ends a cgroup's enrollment, whoever's it is.
func (r *Registry) Remove(cgroup string) (Enrollment, error) {
	return r.RemoveIf(cgroup, func(Enrollment) error { return nil })
}

// Of is RemoveIf's condition that an enrollment is identity's; OthersError tells whose it is instead.
func Of(identity string) func(Enrollment) error {
	return func(e Enrollment) error {
		if e.Identity != identity {
			return OthersError{Identity: e.Identity}
		}
		return nil
	}
}

// RemoveIf ends a cgroup's enrollment if may, which is asked at the same moment, returns nil for it.
func (r *Registry) RemoveIf(cgroup string, may func(Enrollment) error) (Enrollment, error) {
	cgroup = path.Clean("/" + cgroup)
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.state.Enrollments, func(e Enrollment) bool { return e.Cgroup == cgroup })
	if i < 0 {
		return Enrollment{}, fmt.Errorf("unenroll %s: %w", cgroup, ErrNotEnrolled)
	}
	e := r.state.Enrollments[i]
	if err := may(e); err != nil {
		return Enrollment{}, fmt.Errorf("unenroll %s: %w", cgroup, err)
	}
	dir := r.dir(cgroup)
	if r.gone(e) {
		dir = ""
	}
	if err := r.kernel.Unenroll(dir, e.ID); err != nil {
		return e, fmt.Errorf("unenroll %s: %w", cgroup, err)
	}
	r.remove(e.ID)
	return e, r.save()
}

func (r *Registry) remove(id uint32) {
	r.state.Enrollments = slices.DeleteFunc(r.state.Enrollments, func(e Enrollment) bool { return e.ID == id })
}

// Sweep lets go of enrollments whose cgroups are gone, and returns them.
func (r *Registry) Sweep() ([]Enrollment, error) {
	var gone []Enrollment
	for _, e := range r.List() {
		if !r.gone(e) {
			continue
		}
		// Another may have been enrolled by that name since the list was made.
		_, err := r.RemoveIf(e.Cgroup, func(now Enrollment) error {
			if now.ID != e.ID {
				return ErrNotEnrolled
			}
			return nil
		})
		if errors.Is(err, ErrNotEnrolled) {
			continue // somebody else has let it go
		}
		if err != nil {
			return gone, err
		}
		gone = append(gone, e)
	}
	return gone, nil
}

// List returns what is enrolled.
func (r *Registry) List() []Enrollment {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.state.Enrollments)
}

// Identity tells whose an enrollment is.
func (r *Registry) Identity(id uint32) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.state.Enrollments {
		if e.ID == id {
			return e.Identity, true
		}
	}
	return "", false
}

// Stands says whether an enrollment is in force and its cgroup still there.
func (r *Registry) Stands(e Enrollment) bool {
	_, known := r.Identity(e.ID)
	return known && !r.gone(e)
}

// Covers says whether a cgroup is enrolled, or inside one that is.
func (r *Registry) Covers(cgroup string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.state.Enrollments {
		if within(cgroup, e.Cgroup) {
			return true
		}
	}
	return false
}

// save writes the registry so that it is there after a crash. mu is held.
func (r *Registry) save() error {
	data, err := json.MarshalIndent(r.state, "", "  ")
	if err != nil {
		return err
	}
	temporary := r.file + ".new"
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("keep enrollments: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(temporary, r.file)
	}
	if err != nil {
		return fmt.Errorf("keep enrollments: %w", err)
	}
	return nil
}

// within says that a cgroup is outer or below it.
func within(inner, outer string) bool {
	return inner == outer || outer == "/" || strings.HasPrefix(inner, outer+"/")
}
