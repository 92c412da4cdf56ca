package servers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/cgroup2"
)

// Cgroup is one cgroup v2 folder of ours. Its cpu.stat accounts for the
// processes in it even where no controller is enabled.
type Cgroup struct {
	Path string
	root string
	dir  *os.File
}

// NewCgroup makes a cgroup below the root of the cgroup v2 tree.
func NewCgroup(name string) (*Cgroup, error) {
	root, err := cgroup2.Root()
	if err != nil {
		return nil, err
	}
	return openCgroup(root, filepath.Join(root, name))
}

// Child makes a cgroup inside c.
func (c *Cgroup) Child(name string) (*Cgroup, error) {
	return openCgroup(c.root, filepath.Join(c.Path, name))
}

func openCgroup(root, path string) (*Cgroup, error) {
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &Cgroup{Path: path, root: root, dir: dir}, nil
}

// Name is c's path below the cgroup v2 mount, as /proc/PID/cgroup spells it.
func (c *Cgroup) Name() string { return c.Path[len(c.root):] }

// FD is what clone3 wants, to start a process inside.
func (c *Cgroup) FD() int { return int(c.dir.Fd()) }

// CPU is how much processor time the cgroup's processes have used so far.
func (c *Cgroup) CPU() (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join(c.Path, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	usec, found := strings.CutPrefix(first, "usage_usec ")
	if !found {
		return 0, fmt.Errorf("%s/cpu.stat has no usage_usec", c.Path)
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	return time.Duration(n) * time.Microsecond, err
}

// Remove removes the cgroup; its processes must have ended, or end soon.
func (c *Cgroup) Remove() error {
	c.dir.Close()
	var err error
	for range 100 {
		if err = os.Remove(c.Path); err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}
