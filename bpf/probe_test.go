package bpf

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A probe is one way a subagent tries to reach the network. It prints what
// became of it: "DESTINATION peer PEER" as the proxy and the kernel have it, or an errno.
type probeFunc func(args []string) (string, error)

func runProbe(name string, args []string) int {
	do, ok := map[string]probeFunc{
		"tcp": probeTCP, "thread": probeThread, "mapped": probeMapped, "nonblock": probeNonblock, "fastopen": probeFastOpen,
		"again": probeAgain, "older": probeOlder, "older-twice": probeOlderTwice, "uring": probeURing,
		"socket": probeSocket, "sendto": probeSendto, "connect-udp": probeConnectUDP, "option": probeOption,
		"device": probeDevice, "bind": probeBind, "churn": probeChurn,
		"serve": probeServe, "unserved": probeUnserved,
	}[name]
	if !ok {
		return 2
	}
	said, err := do(args)
	var errno unix.Errno
	switch {
	case errors.As(err, &errno):
		said = unix.ErrnoName(errno)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(said)
	return 0
}

func sockaddr(to string) (unix.Sockaddr, int) {
	a := netip.MustParseAddrPort(to)
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}, unix.AF_INET6
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// told reads what the proxy says, and asks the kernel who the peer is: in this
// order, since with Fast Open there is no peer before the answer.
func told(fd int) (string, error) {
	line := make([]byte, 128)
	n, err := unix.Read(fd, line)
	if err != nil {
		return "", err
	}
	peer, err := unix.Getpeername(fd)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s peer %s", strings.TrimSpace(string(line[:n])), addrPort(peer)), nil
}

func dial(to string, flags int) (int, error) {
	sa, family := sockaddr(to)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|flags, 0)
	if err != nil {
		return -1, err
	}
	return fd, unix.Connect(fd, sa)
}

func probeTCP(args []string) (string, error) {
	fd, err := dial(args[0], 0)
	if err != nil {
		return "", err
	}
	return told(fd)
}

// probeThread connects in a thread of its own, and says which.
func probeThread(args []string) (string, error) {
	runtime.LockOSThread()
	said := make(chan string)
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never the first thread: that one is locked as well
		_, err := probeTCP(args)
		failed <- err
		said <- strconv.Itoa(unix.Gettid())
	}()
	err := <-failed
	return <-said, err
}

// probeMapped: an AF_INET6 socket and ::ffff:a.b.c.d.
func probeMapped(args []string) (string, error) {
	a := netip.MustParseAddrPort(args[0])
	return probeTCP([]string{netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port()).String()})
}

func probeNonblock(args []string) (string, error) {
	fd, err := dial(args[0], unix.SOCK_NONBLOCK)
	if err != unix.EINPROGRESS && err != nil {
		return "", err
	}
	for _, events := range []int16{unix.POLLOUT, unix.POLLIN} {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, 5000); err != nil {
			return "", err
		}
	}
	return told(fd)
}

func probeFastOpen(args []string) (string, error) {
	sa, family := sockaddr(args[0])
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return "", err
	}
	if _, err := unix.SendmsgN(fd, []byte("hello"), nil, sa, unix.MSG_FASTOPEN); err != nil {
		return "", err
	}
	return told(fd)
}

// probeAgain connects, leaves by AF_UNSPEC and connects elsewhere, one socket.
func probeAgain(args []string) (string, error) {
	fd, err := dial(args[0], 0)
	if err != nil {
		return "", err
	}
	if _, err := told(fd); err != nil {
		return "", err
	}
	if err := disconnect(fd); err != nil {
		return "", err
	}
	sa, _ := sockaddr(args[1])
	if err := unix.Connect(fd, sa); err != nil {
		return "", err
	}
	return told(fd)
}

func wait() {
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// probeOlder makes its socket before it is moved into the enrolled cgroup.
func probeOlder(args []string) (string, error) {
	sa, family := sockaddr(args[1])
	kind := unix.SOCK_STREAM
	if args[0] == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind, 0)
	if err != nil {
		return "", err
	}
	wait()
	if args[0] == "udp" {
		return "sent", unix.Sendto(fd, []byte("x"), 0, sa)
	}
	if err := unix.Connect(fd, sa); err != nil {
		return "", err
	}
	return told(fd)
}

// probeOlderTwice dials the proxy itself with a socket that was turned before.
func probeOlderTwice(args []string) (string, error) {
	sa, family := sockaddr(args[0])
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return "", err
	}
	wait()
	if err := unix.Connect(fd, sa); err != nil {
		return "", err
	}
	if _, err := told(fd); err != nil {
		return "", err
	}
	if err := disconnect(fd); err != nil {
		return "", err
	}
	proxy, _ := sockaddr(args[1])
	return "let through", unix.Connect(fd, proxy)
}

func probeSocket(args []string) (string, error) {
	var n [3]int
	for i := range n {
		n[i], _ = strconv.Atoi(args[i])
	}
	_, err := unix.Socket(n[0], n[1], n[2])
	return "made", err
}

func probeSendto(args []string) (string, error) {
	sa, family := sockaddr(args[0])
	fd, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
	if err != nil {
		return "", err
	}
	return "sent", unix.Sendto(fd, []byte("x"), 0, sa)
}

func probeConnectUDP(args []string) (string, error) {
	sa, family := sockaddr(args[0])
	fd, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
	if err != nil {
		return "", err
	}
	return "connected", unix.Connect(fd, sa)
}

func probeOption(args []string) (string, error) {
	level, _ := strconv.Atoi(args[0])
	name, _ := strconv.Atoi(args[1])
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
	if err != nil {
		return "", err
	}
	return "set", unix.SetsockoptString(fd, level, name, string(make([]byte, 24)))
}

// probeDevice ties its socket to a device first.
func probeDevice(args []string) (string, error) {
	sa, family := sockaddr(args[0])
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return "", err
	}
	if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, args[1]); err != nil {
		return "", err
	}
	if err := unix.Connect(fd, sa); err != nil {
		return "", err
	}
	return told(fd)
}

// probeBind: ADDRESS KIND [UID [elsewhere]], as another user, in a network namespace of its own.
func probeBind(args []string) (string, error) {
	if len(args) > 3 {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return "", err
		}
	}
	if len(args) > 2 {
		uid, _ := strconv.Atoi(args[2])
		if err := unix.Setresuid(uid, uid, uid); err != nil {
			return "", err
		}
	}
	sa, family := sockaddr(args[0])
	kind := map[string][2]int{"tcp": {unix.SOCK_STREAM, 0}, "udp": {unix.SOCK_DGRAM, 0}, "mptcp": {unix.SOCK_STREAM, unix.IPPROTO_MPTCP}}[args[1]]
	fd, err := unix.Socket(family, kind[0], kind[1])
	if err != nil {
		return "", err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1) // any address is as good as one of this host
	return "bound", unix.Bind(fd, sa)
}

// probeUnserved connects in a network namespace of its own.
func probeUnserved(args []string) (string, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return "", err
	}
	fd, err := dial(args[0], 0)
	unix.Close(fd)
	return "connected", err
}

// probeChurn connects and closes, N times from few source ports, to changing
// destinations, and compares what the proxy heard.
func probeChurn(args []string) (string, error) {
	rounds, _ := strconv.Atoi(args[0])
	first, _ := strconv.Atoi(args[1])
	missing, wrong := 0, 0
	for i := range rounds {
		to := fmt.Sprintf("203.0.113.%d:%d", i%200+1, 1000+i%5000)
		said, err := churnOnce(to, first+i%50)
		switch {
		case err != nil:
			missing++
		case said != to+" peer "+to:
			wrong++
		}
	}
	return fmt.Sprintf("missing %d wrong %d", missing, wrong), nil
}

// churnOnce ends its connection by a reset, so that the port is free at once.
func churnOnce(to string, port int) (string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}); err != nil {
		return "", err
	}
	sa, _ := sockaddr(to)
	if err := unix.Connect(fd, sa); err != nil {
		return "", err
	}
	return told(fd)
}
