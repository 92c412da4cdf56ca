package api

import (
	"errors"
	"fmt"
	"net"
	"os/user"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/chaperone-dev/chaperone/pkg/approval"
)

// peer is the process at the other end of a control connection, as the kernel
// saw it when it connected. pidfd stays with it when its number is used again; -1 where
// the kernel has none to give (before 6.5).
type peer struct {
	pid   int
	uid   uint32
	start uint64 // of the process that had pid when the connection was accepted; clock ticks since boot

	mu    sync.Mutex // guards pidfd: a connection may be closed under its request
	pidfd int
	gone  bool // the connection is closed
}

// peerOf asks the kernel who is at the other end. The caller closes the peer.
func peerOf(c net.Conn) (*peer, error) {
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("%T is no unix socket", c)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	p := &peer{pidfd: -1}
	var fail error
	err = raw.Control(func(fd uintptr) { fail = p.read(int(fd)) })
	if err := errors.Join(err, fail); err != nil {
		p.close()
		return nil, fmt.Errorf("peer credentials: %w", err)
	}
	return p, nil
}

func (p *peer) read(fd int) error {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return err
	}
	p.pid, p.uid = int(cred.Pid), cred.Uid
	if p.pid <= 0 {
		return errors.New("the peer's process is not visible from here") // another pid namespace
	}
	p.pidfd, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	switch {
	case err == nil:
		unix.CloseOnExec(p.pidfd)
	case errors.Is(err, unix.ENOPROTOOPT):
		p.pidfd = -1
	default:
		p.pidfd = -1
		return fmt.Errorf("peer pidfd: %w", err)
	}
	stat, err := statOf(p.pid)
	p.start = stat.start
	return err
}

// alive is nil while the process that connected lives under its number.
func (p *peer) alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return errors.New("the connection is closed")
	}
	if p.pidfd >= 0 {
		// A zombie's pidfd is readable: what has exited is answered no more.
		fds := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		if err != nil {
			return fmt.Errorf("poll the peer: %w", err)
		}
		if n > 0 {
			return errors.New("the peer has exited")
		}
	}
	stat, err := statOf(p.pid)
	if err != nil {
		return err
	}
	if stat.start != p.start {
		return errors.New("the peer's pid belongs to another process now")
	}
	return nil
}

func (p *peer) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	if p.pidfd >= 0 {
		_ = unix.Close(p.pidfd)
		p.pidfd = -1
	}
}

// person names the peer for the desk and the record.
func (p *peer) person() approval.Person {
	who := approval.Person{UID: p.uid}
	if found, err := user.LookupId(strconv.FormatUint(uint64(p.uid), 10)); err == nil {
		who.Name = found.Username
	}
	return who
}
