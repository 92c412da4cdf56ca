package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/chaperone-dev/chaperone/bpf"
	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/cgroup2"
)

// capability is one of the kernel's, by number (capabilities(7)), and what is amiss where it alone is missing.
type capability struct {
	name    string
	bit     uint
	without string
}

// capabilities are those that the kernel asks for: to load and attach programs it wants
// BPF and NET_ADMIN, or SYS_ADMIN in the place of both (bpf_capable, bpf_net_capable).
func capabilities() []capability {
	return []capability{
		{"CAP_BPF", unix.CAP_BPF, "CAP_SYS_ADMIN stands in for it"},
		{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN, "connections older than an enrollment cannot be ended"},
		{"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN, "a bpffs that is not mounted cannot be"},
	}
}

// missingCapabilities are those this process has not. Root in a container, or
// under a service manager's bounding set, is not all of root.
func missingCapabilities() []capability {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return nil // what cannot be asked will be tried
	}
	return slices.DeleteFunc(capabilities(), func(c capability) bool { return have[c.bit/32].Effective>>(c.bit%32)&1 == 1 })
}

// loads says that programs can be loaded and attached without those that are missing.
func loads(missing []capability) bool {
	lack := func(bit uint) bool {
		return slices.ContainsFunc(missing, func(c capability) bool { return c.bit == bit })
	}
	return !lack(unix.CAP_SYS_ADMIN) || !lack(unix.CAP_BPF) && !lack(unix.CAP_NET_ADMIN)
}

// lacking is the sentence for capabilities that are missing.
func lacking(missing []capability) string {
	var names []string
	for _, c := range missing {
		names = append(names, c.name)
	}
	return "this process lacks the capabilities " + strings.Join(names, ", ")
}

// rights is doctor's line on them.
func rights(missing []capability) finding {
	const name = "capabilities"
	if !loads(missing) {
		return needed(name, false, "", lacking(missing)+": "+grantHint)
	}
	var amiss []string
	for _, c := range missing {
		amiss = append(amiss, c.name+" is missing: "+c.without)
	}
	return limited(name, len(amiss) == 0, "CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN", strings.Join(amiss, "; "))
}

// grantHint is what to do about them, for root; others become root first.
const grantHint = "give them to the container (--cap-add) or service (CapabilityBoundingSet) that it runs in"

// entitle is the first step of a house: what it may not do is said before anything is made.
func (h *house) entitle(context.Context) error {
	missing := missingCapabilities()
	if loads(missing) {
		return nil
	}
	err := errors.New(lacking(missing))
	if os.Geteuid() != 0 {
		return err
	}
	return api.Hint(err, grantHint)
}

// advise gives an error of the host, met while the house was built, its next step.
func (h *house) advise(err error) error {
	if api.HintOf(err) != "" {
		return err
	}
	var at *fs.PathError
	where := h.config.StateDir
	if errors.As(err, &at) {
		where = at.Path
	}
	switch {
	case errors.Is(err, cgroup2.ErrNone):
		return api.Hint(err, "mount -t cgroup2 none /sys/fs/cgroup/unified, or boot with systemd.unified_cgroup_hierarchy=1")
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return api.Hint(err, "make room there, or name another place with --state-dir")
	case errors.Is(err, unix.EROFS):
		return api.Hint(err, where+" cannot be written: name another place (--state-dir, --control-socket)")
	case errors.Is(err, unix.ENOTDIR):
		return api.Hint(err, where+" is a file, or lies below one: name another place (--state-dir, --control-socket)")
	}
	return err
}

// pinning says whether links can be pinned in dir, and leaves the host as it was: a bpffs
// that is not mounted stays so, and the daemon will mount it where it may.
func pinning(dir string, mounts bool) finding {
	const good = "a killed daemon leaves enrolled processes refused, not free"
	there := dir
	for there != "/" && !exists(there) {
		there = filepath.Dir(there)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(there, &fs); err != nil || fs.Type != unix.BPF_FS_MAGIC {
		usual := dir == usualBPFFS || strings.HasPrefix(dir, usualBPFFS+"/")
		if usual && !mounts {
			return needed("pinning", false, "", "no bpffs, and it could not be mounted without CAP_SYS_ADMIN (mount -t bpf bpf "+usualBPFFS+")")
		}
		return needed("pinning", usual && exists(usualBPFFS), good+"; no bpffs is mounted yet, the daemon will mount it",
			fmt.Sprintf("no bpffs at %s (mount -t bpf bpf %s, or set CHAPERONE_PIN_DIR)", dir, usualBPFFS))
	}
	err := bpf.CanPin(dir)
	for d := dir; d != there; d = filepath.Dir(d) {
		_ = os.Remove(d) // it was made to try
	}
	return needed("pinning", err == nil, good, fmt.Sprint(err))
}

const usualBPFFS = "/sys/fs/bpf"

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
