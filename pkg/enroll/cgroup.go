package enroll

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/cgroup2"
)

// OwnCgroup is the cgroup of this process, as a path below the cgroup v2 mount.
func OwnCgroup() (string, error) { return CgroupOf(os.Getpid()) }

// CgroupOf is the cgroup of a process, as a path below the cgroup v2 mount.
func CgroupOf(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", fmt.Errorf("cgroup of %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSpace(path), nil
		}
	}
	return "", fmt.Errorf("cgroup of %d: %w", pid, cgroup2.ErrNone)
}

// emptyWait is how long Unmake waits for the last process to be gone.
const emptyWait = 2 * time.Second

// Yard is where one daemon makes cgroups for runs and pids. Each daemon has its own, so that
// none takes another's for forgotten: a run whose command is about to start is empty as well.
type Yard struct {
	root  string // of cgroup v2
	slice string // below it, "/" first
}

// NewYard is the yard of the daemon whose pins are in pinDir: /chaperone-runs for
// /sys/fs/bpf/chaperone. It is apart from chaperone.slice, which systemd manages.
func NewYard(root, pinDir string) Yard {
	name := strings.TrimPrefix(filepath.Clean(pinDir), "/sys/fs/bpf/")
	return Yard{root: root, slice: "/" + strings.ReplaceAll(strings.Trim(name, "/"), "/", "-") + "-runs"}
}

// Make makes a cgroup for one command or process, and returns its path below the cgroup v2 mount.
func (y Yard) Make(name string) (string, error) {
	cgroup := y.slice + "/" + name
	if err := os.MkdirAll(filepath.Join(y.root, cgroup), 0o755); err != nil {
		return "", fmt.Errorf("make cgroup: %w", err)
	}
	return cgroup, nil
}

// Unmake kills what is left in a cgroup that Make made, and removes it.
func (y Yard) Unmake(cgroup string) error {
	dir := filepath.Join(y.root, cgroup)
	if !within(cgroup, y.slice) || cgroup == y.slice {
		return fmt.Errorf("remove cgroup %s: it was not made here", cgroup)
	}
	_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) // 5.14; before that a busy cgroup stays
	deadline := time.Now().Add(emptyWait)
	for {
		err := removeTree(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup: %w", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Sweep removes the yard and the cgroups in it that nobody is in. It is for when no daemon uses it.
func (y Yard) Sweep() error {
	err := y.Clear(func(string) bool { return false }, 0)
	_ = syscall.Rmdir(filepath.Join(y.root, y.slice)) // somebody is left
	return err
}

// Clear removes the cgroups of Make that nobody is in, and that are neither kept nor younger than age.
func (y Yard) Clear(kept func(cgroup string) bool, age time.Duration) error {
	entries, err := os.ReadDir(filepath.Join(y.root, y.slice))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep cgroups: %w", err)
	}
	for _, e := range entries {
		cgroup := y.slice + "/" + e.Name()
		info, err := e.Info()
		if err == nil && e.IsDir() && time.Since(info.ModTime()) >= age && !kept(cgroup) && Empty(y.root, cgroup) {
			_ = removeTree(filepath.Join(y.root, cgroup)) // a process came in meanwhile
		}
	}
	return nil
}

// Empty says that no process is in a cgroup or below it.
func Empty(root, cgroup string) bool {
	data, err := os.ReadFile(filepath.Join(root, cgroup, "cgroup.events"))
	return err == nil && strings.Contains(string(data), "populated 0\n")
}

// isFrozen says that the processes of a cgroup directory are stopped, by it or by one above it.
func isFrozen(dir string) bool {
	for {
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.freeze")) // kernel 5.2; the root has none
		if err != nil {
			return false
		}
		if strings.TrimSpace(string(data)) == "1" {
			return true
		}
		dir = filepath.Dir(dir)
	}
}

// removeTree removes a cgroup and those below it: directories only, since the
// files in them are the kernel's.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return syscall.Rmdir(dir)
}

func inodeOf(dir string) (uint64, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() {
		return 0, ErrNoCgroup
	}
	return s.Ino, nil
}

// UnitCgroups finds the cgroups of a systemd unit.
func UnitCgroups(root, unit string) ([]string, error) {
	return Find(root, func(cgroup string) bool { return UnitOf(cgroup) == unit })
}

// UnitOf is the system unit whose cgroup this is, "" when it is none's. The system's units
// stand below slices only. What stands below a unit may be delegated to its user, who
// can give a directory any name: /user.slice/user-7.slice/user@7.service/billing.service is not billing.service.
func UnitOf(cgroup string) string {
	above, unit := path.Split(strings.Trim(cgroup, "/"))
	for step := range strings.SplitSeq(strings.Trim(above, "/"), "/") {
		if step != "" && !strings.HasSuffix(step, ".slice") {
			return ""
		}
	}
	for _, kind := range []string{".service", ".scope", ".slice", ".socket", ".mount", ".swap"} { // systemd.unit(5): those that have a cgroup
		if strings.HasSuffix(unit, kind) {
			return unit
		}
	}
	return ""
}

// Find lists the cgroups that match, outermost only: what is below is covered with them.
func Find(root string, match func(cgroup string) bool) ([]string, error) {
	var found []string
	err := filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone while we looked
		}
		if err != nil || !d.IsDir() {
			return err
		}
		cgroup := "/" + strings.TrimPrefix(strings.TrimPrefix(dir, root), "/")
		if cgroup != "/" && match(cgroup) {
			found = append(found, cgroup)
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for cgroups: %w", err)
	}
	return found, nil
}
