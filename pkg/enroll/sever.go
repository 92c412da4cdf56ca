package enroll

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sever ends the network connections that processes of a cgroup, and of those
// below it, had before it was enrolled: their sockets carry another cgroup's hooks, and a
// connected datagram socket is seen by no hook at all. It returns how many it could
// not end; they are uncovered until their process closes them.
func Sever(root, cgroup string) (uncovered int, err error) {
	dir := filepath.Join(root, cgroup)
	theirs, err := heldBelow(dir)
	defer theirs.close()
	if err != nil {
		return 0, fmt.Errorf("end older connections: %w", err)
	}
	ours := map[uint32]bool{} // held by a child of ours too, between its clone and its exec
	socketsOf("/proc/self/fd", ours)
	maps.DeleteFunc(theirs.sockets, func(inode uint32, _ bool) bool { return ours[inode] })
	if len(theirs.sockets) == 0 {
		return 0, nil
	}
	for _, n := range theirs.namespaces {
		failed, again := destroy(theirs.sockets, n)
		uncovered, err = uncovered+failed, errors.Join(err, again)
	}
	left, again := heldBelow(dir)
	defer left.close()
	for inode := range theirs.sockets {
		if again != nil || left.sockets[inode] { // in no list, and not closed while we looked
			uncovered++
		}
	}
	if err = errors.Join(err, again); err != nil {
		return uncovered, fmt.Errorf("end older connections: %w", err)
	}
	return uncovered, nil
}

// pidsBelow lists the processes of a cgroup directory and those below it.
func pidsBelow(dir string) ([]string, error) {
	var pids []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			if errors.Is(err, fs.ErrNotExist) && path != dir {
				return nil // a cgroup that went while we looked has no processes
			}
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, syscall.EOPNOTSUPP) {
			return nil // threaded: its processes are listed in its domain
		}
		pids = append(pids, strings.Fields(string(data))...)
		return err
	})
	return pids, err
}

// held is what the processes of a cgroup have: sockets, by inode, and the network namespaces
// their threads are in, by name.
type held struct {
	sockets    map[uint32]bool
	namespaces map[string]*os.File
}

func (h *held) close() {
	for _, n := range h.namespaces {
		n.Close()
	}
}

// heldBelow is what the processes of a cgroup directory, and of those below it, have. The caller closes it.
func heldBelow(dir string) (held, error) {
	h := held{sockets: map[uint32]bool{}, namespaces: map[string]*os.File{}}
	pids, err := pidsBelow(dir)
	for _, pid := range pids {
		h.look(pid)
	}
	return h, err
}

// look adds what a process has. Each of its threads may have left the others' namespace
// (CLONE_NEWNET) and the others' descriptors (CLONE_FILES); a table that was seen is not read twice.
func (h *held) look(pid string) {
	tasks, err := os.ReadDir(filepath.Join("/proc", pid, "task"))
	if err != nil {
		return // gone
	}
	var tables []int // a thread of each
	for _, t := range tasks {
		dir := filepath.Join("/proc", pid, "task", t.Name())
		h.enter(filepath.Join(dir, "ns/net"))
		tid, err := strconv.Atoi(t.Name())
		if err != nil || sharesFiles(tid, tables) {
			continue
		}
		tables = append(tables, tid)
		socketsOf(filepath.Join(dir, "fd"), h.sockets)
	}
}

// enter keeps a network namespace, so that it can be entered when its process is gone.
func (h *held) enter(path string) {
	name, err := os.Readlink(path)
	if err != nil || h.namespaces[name] != nil {
		return
	}
	if f, err := os.Open(path); err == nil {
		h.namespaces[name] = f
	}
}

const kcmpFiles = 2 // KCMP_FILES, linux/kcmp.h

// sharesFiles says that a thread uses the descriptors of one of the others. A kernel that cannot
// tell (CONFIG_KCMP) has all of them read.
func sharesFiles(tid int, others []int) bool {
	for _, other := range others {
		order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(tid), uintptr(other), kcmpFiles, 0, 0, 0)
		if errno == 0 && order == 0 {
			return true
		}
	}
	return false
}

// socketsOf adds the inodes of the sockets in a directory of descriptors, less those that
// reach this host's processes and kernel only.
func socketsOf(dir string, into map[uint32]bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // gone
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		name, err := os.Readlink(path)
		if err != nil {
			continue
		}
		number, ok := strings.CutPrefix(name, "socket:[")
		if !ok || isLocal(path) {
			continue
		}
		if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32); err == nil {
			into[uint32(inode)] = true
		}
	}
}

// isLocal says that a socket is a unix or a netlink one: its protocol's name, from net/socket.c
// (sockfs), does not depend on the namespace it was made in, as the tables in /proc/net do.
func isLocal(path string) bool {
	name := make([]byte, 32)
	n, err := unix.Getxattr(path, "system.sockprotoname", name)
	if err != nil {
		return false
	}
	protocol := unix.ByteSliceToString(name[:n])
	return protocol == "UNIX" || protocol == "UNIX-STREAM" || protocol == "NETLINK"
}

// destroy ends the internet sockets among inodes that are of a network namespace, and takes those it
// found off the list. It counts those that could not be ended.
func destroy(inodes map[uint32]bool, namespace *os.File) (uncovered int, err error) {
	err = inside(namespace, func() error {
		sockets, err := inetSockets()
		for _, s := range sockets {
			if !inodes[s.inode] {
				continue
			}
			delete(inodes, s.inode)
			if s.destroy() != nil {
				uncovered++
			}
		}
		return err
	})
	return uncovered, err
}

// inside calls do in a network namespace, in a thread that ends with it. It is never the
// process's first: /proc/self shows that one, and it cannot end.
func inside(namespace *os.File, do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if unix.Gettid() == unix.Getpid() {
			err := inside(namespace, do)
			runtime.UnlockOSThread()
			done <- err
			return
		}
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter a network namespace: %w", err)
			return
		}
		done <- do()
	}()
	return <-done
}
