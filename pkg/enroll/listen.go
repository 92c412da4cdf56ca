package enroll

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// anyPortTries is how often another port is tried where any will do: one that is free for IPv4
// may be taken for IPv6.
const anyPortTries = 16

// Listen opens the proxy's listeners on the loopback of this network namespace, IPv4
// and, where there is one, IPv6. MPTCP, Go's default, is off: an accepted MPTCP
// socket does not carry the kernel's origin.
func Listen(ctx context.Context, port uint16) ([]net.Listener, error) {
	if port != 0 {
		return listenOn(ctx, port)
	}
	for try := 1; ; try++ {
		listeners, err := listenOn(ctx, 0)
		if err == nil || try == anyPortTries || !errors.Is(err, syscall.EADDRINUSE) {
			return listeners, err
		}
	}
}

func listenOn(ctx context.Context, port uint16) ([]net.Listener, error) {
	four, err := listenAt(ctx, "tcp4", "127.0.0.1", port)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("listen: port %d is taken (set listen.port)", port)
		}
		return nil, fmt.Errorf("listen: %w", err)
	}
	port = uint16(four.Addr().(*net.TCPAddr).Port)
	six, err := listenAt(ctx, "tcp6", "::1", port)
	switch {
	case err == nil:
		return []net.Listener{four, six}, nil
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return []net.Listener{four}, nil // no IPv6 here: its programs' connects are refused by the kernel
	}
	return nil, errors.Join(fmt.Errorf("listen: %w", err), four.Close())
}

func listenAt(ctx context.Context, network, host string, port uint16) (net.Listener, error) {
	c := net.ListenConfig{KeepAlive: -1}
	c.SetMultipathTCP(false)
	return c.Listen(ctx, network, net.JoinHostPort(host, strconv.Itoa(int(port))))
}
