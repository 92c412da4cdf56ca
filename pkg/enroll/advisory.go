package enroll

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Capabilities with which a process can take BPF programs off, or itself out of
// its cgroup (include/uapi/linux/capability.h).
var undoing = []struct {
	bit  uint
	name string
}{
	{21, "CAP_SYS_ADMIN"},
	{39, "CAP_BPF"},
	{16, "CAP_SYS_MODULE"},
}

// advisoryProcesses bounds how many processes of a cgroup are looked at.
const advisoryProcesses = 256

// Advisory says why the processes of an enrolled cgroup, or of one below it, could
// undo the enrollment, "" when none of them could. A process in a user namespace of its own has
// no such power outside of it and is not meant; nor is a canary of this process's.
func Advisory(root, cgroup string) string {
	own, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return ""
	}
	for _, pid := range members(filepath.Join(root, cgroup)) {
		if theirs, err := os.Readlink(filepath.Join("/proc", pid, "ns/user")); err != nil || theirs != own || isCanary(pid) {
			continue
		}
		held := effective(pid)
		for _, c := range undoing {
			if held>>c.bit&1 == 1 {
				return fmt.Sprintf("process %s has %s and could undo this", pid, c.name)
			}
		}
	}
	return ""
}

// members are the processes of a cgroup and of those below it, up to advisoryProcesses.
func members(dir string) []string {
	var pids []string
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return nil // a cgroup that went meanwhile
		}
		data, _ := os.ReadFile(name)
		pids = append(pids, strings.Fields(string(data))...)
		if len(pids) >= advisoryProcesses {
			pids = pids[:advisoryProcesses]
			return fs.SkipAll
		}
		return nil
	})
	return pids
}

// isCanary says that a process is a child of ours that runs our own program, or is about to.
func isCanary(pid string) bool {
	stat, err := statOf(pid)
	if err != nil || stat[1] != strconv.Itoa(os.Getpid()) {
		return false
	}
	theirs, err := os.Stat(filepath.Join("/proc", pid, "exe"))
	if err != nil {
		return false
	}
	ours, err := os.Stat("/proc/self/exe")
	return err == nil && os.SameFile(theirs, ours)
}

// effective is a process's effective capability set; 0 when it is gone.
func effective(pid string) uint64 {
	data, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			if err != nil {
				return 0
			}
			return set
		}
	}
	return 0
}
