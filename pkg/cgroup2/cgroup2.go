// Package cgroup2 says where the unified hierarchy is mounted (cgroups(7)).
//
// # Why
//
// The kernel half, the control socket and the servers of tests all need it, and are neighbours or
// on floors of their own: each had found it in its own way, of which one is right on a hybrid host.
package cgroup2

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

// ErrNone means that this host has no cgroup v2 hierarchy.
var ErrNone = errors.New("no cgroup v2 hierarchy is mounted")

// Root is where cgroup v2 is mounted, on pure and on hybrid hosts.
func Root() (string, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return "", fmt.Errorf("find cgroup v2: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1], nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("find cgroup v2: %w", err)
	}
	return "", fmt.Errorf("%w (mount -t cgroup2 none /sys/fs/cgroup/unified)", ErrNone)
}
