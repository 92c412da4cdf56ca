package enroll

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Move puts a running process, with all its threads, into a cgroup of Make.
func Move(root, cgroup string, pid int) error {
	path := filepath.Join(root, cgroup, "cgroup.procs")
	if err := os.WriteFile(path, []byte(strconv.Itoa(pid)), 0); err != nil {
		return fmt.Errorf("move process %d: %w", pid, err)
	}
	return nil
}

// Sever ends the network connections that processes of a cgroup, and of those
// below it, had before it was enrolled: their sockets carry another cgroup's hooks, and a
// connected datagram socket is seen by no hook at all. It returns how many it could
// not end; they are uncovered until their process closes them.
func Sever(root, cgroup string) (uncovered int, err error) {
	pids, err := pidsBelow(filepath.Join(root, cgroup))
	if err != nil {
		return 0, fmt.Errorf("end older connections: %w", err)
	}
	inodes := map[uint32]bool{}
	for _, pid := range pids {
		socketsOf(pid, inodes)
	}
	ours := map[uint32]bool{} // held by a child of ours too, between its clone and its exec
	socketsOf("self", ours)
	maps.DeleteFunc(inodes, func(inode uint32, _ bool) bool { return ours[inode] })
	if len(inodes) == 0 {
		return 0, nil
	}
	uncovered, err = destroy(inodes)
	if err != nil {
		return uncovered, fmt.Errorf("end older connections: %w", err)
	}
	return uncovered + unlisted(inodes), nil
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

// socketsOf adds the inodes of a process's sockets.
func socketsOf(pid string, into map[uint32]bool) {
	dir := filepath.Join("/proc", pid, "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // gone
	}
	for _, e := range entries {
		name, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		if number, ok := strings.CutPrefix(name, "socket:["); ok {
			if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32); err == nil {
				into[uint32(inode)] = true
			}
		}
	}
}

// destroy ends the internet sockets among inodes, and takes those it found off the list.
func destroy(inodes map[uint32]bool) (uncovered int, err error) {
	sockets, err := inetSockets()
	if err != nil {
		return len(inodes), err
	}
	for _, s := range sockets {
		if !inodes[s.inode] {
			continue
		}
		delete(inodes, s.inode)
		if s.destroy() != nil {
			uncovered++
		}
	}
	return uncovered, nil
}

// otherTables list sockets that sock_diag may not show, or cannot end; with the column of the inode.
var otherTables = []struct {
	path   string
	column int
}{
	{"/proc/net/packet", 8},
	{"/proc/net/raw", 9}, {"/proc/net/raw6", 9},
	{"/proc/net/udplite", 9}, {"/proc/net/udplite6", 9},
	{"/proc/net/icmp", 9}, {"/proc/net/icmp6", 9},
}

// unlisted counts the sockets among inodes that are in one of those tables.
func unlisted(inodes map[uint32]bool) int {
	count := 0
	for _, table := range otherTables {
		data, err := os.ReadFile(table.path)
		if err != nil {
			continue // a kernel without them
		}
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			if len(fields) <= table.column {
				continue
			}
			inode, err := strconv.ParseUint(fields[table.column], 10, 32)
			if err == nil && inodes[uint32(inode)] {
				count++
			}
		}
	}
	return count
}
