package enroll

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Account is as whom a command runs.
type Account struct {
	UID, GID uint32
	Groups   []uint32
	Name     string
	Home     string
}

// AccountOf looks an account up by name or number.
func AccountOf(name string) (*Account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		byID, again := user.LookupId(name)
		if again != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		u = byID
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	a := &Account{UID: uint32(uid), GID: uint32(gid), Name: u.Username, Home: u.HomeDir}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of %s: %w", name, err)
	}
	for _, g := range groups {
		if id, err := strconv.ParseUint(g, 10, 32); err == nil {
			a.Groups = append(a.Groups, uint32(id))
		}
	}
	return a, nil
}

// Start starts cmd inside the cgroup directory dir: it is there before its
// first instruction (clone3 with CLONE_INTO_CGROUP), so nothing can slip out in between. Sockets
// among the descriptors we inherited ourselves are closed on exec (our own are
// anyway), and standard ones that are network sockets are refused: they were made outside.
func Start(cmd *exec.Cmd, dir string, as *Account) error {
	for i, f := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		if file, ok := f.(*os.File); ok && isNetwork(file) {
			return fmt.Errorf("descriptor %d is a network socket from outside: it would not be covered", i)
		}
	}
	if err := closeSockets(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("start in %s: %w", filepath.Base(dir), err)
	}
	defer d.Close()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(d.Fd())
	if as != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: as.UID, Gid: as.GID, Groups: as.Groups}
	}
	err = cmd.Start()
	if errors.Is(err, syscall.ENOSYS) {
		return fmt.Errorf("start in a cgroup (kernel 5.7 or later): %w", err)
	}
	return err
}

// isNetwork says that a file is a socket that is not a unix one.
func isNetwork(f *os.File) bool {
	domain, err := syscall.GetsockoptInt(int(f.Fd()), syscall.SOL_SOCKET, syscall.SO_DOMAIN)
	return err == nil && domain != syscall.AF_UNIX
}

// closeSockets marks this process's sockets, the standard descriptors excepted, to be closed on exec.
func closeSockets() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list descriptors: %w", err)
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < 3 {
			continue
		}
		if _, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_DOMAIN); err == nil {
			syscall.CloseOnExec(fd)
		}
	}
	return nil
}
