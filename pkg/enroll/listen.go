package enroll

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
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

// ErrEphemeral means that a port is among those that sockets get which ask for none. They come by it past
// every hook: while the daemon is away, anybody's listener could get the connections of the enrolled.
var ErrEphemeral = errors.New("it is among the ports that are given to anybody")

// CheckPort says why a port that is to stay the proxy's would not; nil for 0, which is another each time.
func CheckPort(port uint16) error {
	if port == 0 {
		return nil
	}
	span, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return fmt.Errorf("ports that are given to anybody: %w", err)
	}
	reserved, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports")
	if err != nil {
		return fmt.Errorf("ports that are given to nobody: %w", err)
	}
	if isEphemeral(port, string(span), string(reserved)) {
		return fmt.Errorf("port %d: %w", port, ErrEphemeral)
	}
	return nil
}

// isEphemeral reads "32768 60999" and "8080,9148-9150" (ip(7), ip-sysctl.rst).
func isEphemeral(port uint16, span, reserved string) bool {
	if !inSpan(port, strings.Fields(span)) {
		return false
	}
	for part := range strings.SplitSeq(strings.TrimSpace(reserved), ",") {
		if inSpan(port, strings.Split(part, "-")) {
			return false
		}
	}
	return true
}

// inSpan says that a port is between the first and the last of some numbers.
func inSpan(port uint16, numbers []string) bool {
	if len(numbers) == 0 {
		return false
	}
	first, err1 := strconv.ParseUint(numbers[0], 10, 16)
	last, err2 := strconv.ParseUint(numbers[len(numbers)-1], 10, 16)
	return err1 == nil && err2 == nil && uint64(port) >= first && uint64(port) <= last
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
