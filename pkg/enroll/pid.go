package enroll

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
)

// Move puts a running process, with all its threads, into a cgroup of Make.
func Move(root, cgroup string, pid int) error {
	path := filepath.Join(root, cgroup, "cgroup.procs")
	if err := os.WriteFile(path, []byte(strconv.Itoa(pid)), 0); err != nil {
		return fmt.Errorf("move process %d: %w", pid, err)
	}
	return nil
}

// Sever ends the network connections that processes of a cgroup had before it was
// enrolled: their sockets carry another cgroup's hooks. It returns how many it could
// not end; they are uncovered until their process closes them.
func Sever(root, cgroup string) (uncovered int, err error) {
	data, err := os.ReadFile(filepath.Join(root, cgroup, "cgroup.procs"))
	if err != nil {
		return 0, fmt.Errorf("end older connections: %w", err)
	}
	inodes := map[uint32]bool{}
	for _, pid := range strings.Fields(string(data)) {
		socketsOf(pid, inodes)
	}
	return destroy(inodes)
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

// destroy ends the inet sockets among inodes (sock_diag SOCK_DESTROY, kernel 4.9
// with CONFIG_INET_DIAG_DESTROY).
func destroy(inodes map[uint32]bool) (uncovered int, err error) {
	for _, family := range []uint8{syscall.AF_INET, syscall.AF_INET6} {
		tcp, tcpErr := netlink.SocketDiagTCP(family)
		udp, udpErr := netlink.SocketDiagUDP(family)
		err = errors.Join(err, tcpErr, udpErr)
		for _, s := range append(tcp, udp...) {
			if !inodes[s.INode] {
				continue
			}
			if !end(s) {
				uncovered++
			}
		}
	}
	return uncovered, err
}

// end destroys one socket; only TCP's can be named to the library.
func end(s *netlink.Socket) bool {
	local := &net.TCPAddr{IP: s.ID.Source, Port: int(s.ID.SourcePort)}
	remote := &net.TCPAddr{IP: s.ID.Destination, Port: int(s.ID.DestinationPort)}
	return netlink.SocketDestroy(local, remote) == nil
}
