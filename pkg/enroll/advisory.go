package enroll

import (
	"fmt"
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

// Advisory says why the processes of an enrolled cgroup could undo the enrollment,
// "" when none of them could. A process in a user namespace of its own has no
// such power outside of it and is not meant.
func Advisory(root, cgroup string) string {
	data, err := os.ReadFile(filepath.Join(root, cgroup, "cgroup.procs"))
	if err != nil {
		return ""
	}
	own, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return ""
	}
	for i, pid := range strings.Fields(string(data)) {
		if i == advisoryProcesses {
			break
		}
		if theirs, err := os.Readlink(filepath.Join("/proc", pid, "ns/user")); err != nil || theirs != own {
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
