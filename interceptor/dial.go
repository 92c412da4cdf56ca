package interceptor

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Dial connects to where a flow wanted to go. It carries no mark and no source
// address: the daemon's cgroup is not enrolled, so its own connections pass.
func Dial(ctx context.Context, o flow.Origin) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1, Control: keepAlive} // one socket option instead of Go's four
	return d.DialContext(ctx, "tcp", o.Destination.String())
}

func keepAlive(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	})
	if err != nil {
		return err
	}
	return failed
}
