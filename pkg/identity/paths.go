package identity

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// pathTries is how often a look-up is tried that met a rename somewhere (openat2(2), EAGAIN).
const pathTries = 3

// resolveCached is RESOLVE_CACHED (5.12; include/uapi/linux/openat2.h).
const resolveCached = 0x20

// pathsOf says which paths exist for a process, seen from its own root and
// folder. It looks only at what the kernel has in memory, as it has what a process just
// opened: a file system of the process's making (FUSE) could have us wait for ever.
// "Could not find out" is "no" here: the argument is then hidden.
func pathsOf(pid int) func(path string) bool {
	dir := proc(pid)
	return func(path string) bool {
		root, err := unix.Open(filepath.Join(dir, "root"), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return false
		}
		defer unix.Close(root)
		if !strings.HasPrefix(path, "/") {
			path = folderOf(dir) + "/" + path // as it stands: Clean would drop a name that is not there
		}
		return inMemory(root, path)
	}
}

// folderOf is a process's current folder, as a path below its root.
func folderOf(dir string) string {
	folder, err := os.Readlink(filepath.Join(dir, "cwd"))
	if err != nil {
		return "/nowhere"
	}
	root, err := os.Readlink(filepath.Join(dir, "root"))
	if err != nil || root == "/" {
		return folder
	}
	return strings.TrimPrefix(folder, root)
}

// inMemory says that a path below root exists, without asking its file system.
func inMemory(root int, path string) bool {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | resolveCached}
	for range pathTries {
		fd, err := unix.Openat2(root, path, how)
		if err == nil {
			return unix.Close(fd) == nil
		}
		if err != unix.EAGAIN {
			return false
		}
	}
	return false
}
