package enroll

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// canaryTargets are addresses nobody can own (RFC 5737, RFC 3849): a
// connection there arrives only if it is turned to the proxy.
var canaryTargets = []netip.AddrPort{
	netip.MustParseAddrPort("192.0.2.1:9"),
	netip.MustParseAddrPort("[2001:db8::1]:9"),
}

// canaryTimeout bounds one canary, its process included.
const canaryTimeout = 5 * time.Second

// errFrozen means that a canary would be stopped with all others in its cgroup (cgroup.freeze, docker pause).
var errFrozen = errors.New("the cgroup is frozen: nothing in it can connect")

// Canaries sends test connections out of enrolled cgroups and recognises them
// when they arrive. mu guards expected.
type Canaries struct {
	// Command runs Sing in a process: this binary's hidden verb.
	Command []string

	heard    atomic.Uint64
	mu       sync.Mutex
	expected map[uint32]expected // by the canary's process
}

// expected is a canary on its way.
type expected struct {
	nonce   string
	arrived chan flow.Origin
}

// Send proves that connections from dir, the directory of an enrolled cgroup, come
// to the proxy under the enrollment's number. nil means that they did, and over which families.
func (c *Canaries) Send(ctx context.Context, dir string, id uint32) (families []string, err error) {
	for _, target := range canaryTargets {
		if target.Addr().Is6() && !hasIPv6() {
			continue
		}
		if err := c.send(ctx, dir, id, target); err != nil {
			return families, fmt.Errorf("canary to %s: %w", target.Addr(), err)
		}
		families = append(families, map[bool]string{true: "ipv6", false: "ipv4"}[target.Addr().Is6()])
	}
	return families, nil
}

// send runs one canary. Its process starts where we are and joins the cgroup itself: to be started
// inside a frozen one it would stop before its exec, and Go's vfork would have the whole daemon wait for that.
func (c *Canaries) send(ctx context.Context, dir string, id uint32, target netip.AddrPort) error {
	if isFrozen(dir) {
		return errFrozen
	}
	ctx, cancel := context.WithTimeout(ctx, canaryTimeout)
	defer cancel()
	nonce := newNonce()
	cmd := exec.CommandContext(ctx, c.Command[0], append(slices.Clone(c.Command[1:]), dir, target.String(), nonce)...)
	cmd.Env = []string{}
	var said strings.Builder
	cmd.Stderr = &said
	arrived, err := c.expect(nonce, func() (int, error) {
		err := cmd.Start()
		if err != nil {
			return 0, err
		}
		return cmd.Process.Pid, nil
	})
	if err != nil {
		return err
	}
	defer c.forget(cmd.Process.Pid)
	waited := cmd.Wait()
	select {
	case origin := <-arrived:
		if origin.Enrollment != id || origin.Destination != target {
			return fmt.Errorf("it arrived as enrollment %d to %s", origin.Enrollment, origin.Destination)
		}
		return waited
	default:
	}
	if isFrozen(dir) {
		return errFrozen
	}
	if why := strings.TrimSpace(said.String()); why != "" {
		return fmt.Errorf("it did not arrive: %s", strings.ReplaceAll(why, "\n", "; "))
	}
	return errors.Join(errors.New("it did not arrive"), waited)
}

func newNonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// expect starts a canary's process and waits for it to arrive: it cannot before we know who it is.
func (c *Canaries) expect(nonce string, start func() (pid int, err error)) (<-chan flow.Origin, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := start()
	if err != nil {
		return nil, err
	}
	if c.expected == nil {
		c.expected = map[uint32]expected{}
	}
	e := expected{nonce: nonce, arrived: make(chan flow.Origin, 1)}
	c.expected[uint32(pid)] = e
	return e.arrived, nil
}

func (c *Canaries) forget(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.expected, uint32(pid))
}

// Heard is how many connections to a canary's address came so far.
func (c *Canaries) Heard() uint64 { return c.heard.Load() }

// Answer recognises a canary among the proxy's connections, and answers it. A connection to a canary's
// address that is none is nobody's: it is over at once, so that nobody can have many of them.
func (c *Canaries) Answer(conn net.Conn, origin flow.Origin) bool {
	if origin.Destination != canaryTargets[0] && origin.Destination != canaryTargets[1] {
		return false
	}
	c.heard.Add(1)
	c.mu.Lock()
	e, ok := c.expected[origin.TGID]
	c.mu.Unlock()
	if !ok {
		return true
	}
	_ = conn.SetDeadline(time.Now().Add(canaryTimeout))
	nonce, err := bufio.NewReader(io.LimitReader(conn, 64)).ReadString('\n')
	if err != nil || strings.TrimSpace(nonce) != e.nonce {
		return true
	}
	select {
	case e.arrived <- origin:
		fmt.Fprintln(conn, "heard")
	default: // a second one with the same nonce
	}
	return true
}

// Sing is what the canary's process does: join the cgroup, connect from there, say the
// nonce, hear the answer, and see that the peer's name is the one it asked for.
func Sing(dir, target, nonce string) error {
	if err := join(dir); err != nil {
		return fmt.Errorf("join the cgroup: %w", err)
	}
	conn, err := net.DialTimeout("tcp", target, canaryTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(canaryTimeout))
	if got := conn.RemoteAddr().String(); got != target {
		return fmt.Errorf("the peer's name is %s", got)
	}
	if _, err := fmt.Fprintln(conn, nonce); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || answer != "heard\n" {
		return fmt.Errorf("no answer: %w", err)
	}
	return nil
}

// join moves this process into a cgroup directory.
func join(dir string) error {
	procs, err := os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = procs.WriteString("0") // who writes
	return errors.Join(err, procs.Close())
}

// hasIPv6 says that this network namespace has an IPv6 loopback.
func hasIPv6() bool {
	fd, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer os.NewFile(uintptr(fd), "probe").Close()
	address := &syscall.SockaddrInet6{}
	address.Addr[15] = 1
	return syscall.Bind(fd, address) == nil
}
