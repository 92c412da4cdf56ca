package bpf

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// ErrNoOrigin means that a connection to the proxy was not turned there by an
// enrolled process: it must be reset.
var ErrNoOrigin = errors.New("the connection has no origin")

// Origin tells what the kernel remembered of an accepted connection. Its
// source is the socket's own storage, which cannot be another's.
func (d *Door) Origin(conn syscall.Conn) (flow.Origin, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return flow.Origin{}, fmt.Errorf("origin: %w", err)
	}
	var o captureOrigin
	found := ErrNoOrigin
	err = raw.Control(func(fd uintptr) {
		found = d.maps[captureMapArrivals].Lookup(int32(fd), &o)
	})
	if err = errors.Join(err, found); err != nil {
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return flow.Origin{}, ErrNoOrigin
		}
		return flow.Origin{}, fmt.Errorf("origin: %w", err)
	}
	return flow.Origin{
		Destination: netip.AddrPortFrom(netip.AddrFrom16(o.Addr).Unmap(), uint16(o.Port)),
		Enrollment:  o.Enrollment, Cookie: o.Cookie, CgroupID: o.Cgroup, NetNS: o.Netns,
		TGID: o.Tgid, TID: o.Tid, UID: o.Uid, Time: time.Duration(o.Time),
	}, nil
}

// Count is what the kernel counted for one enrollment.
type Count struct {
	Enrollment uint32
	What       string // such as "connect_redirected"
	N          uint64
}

// tallies are the names of enum tally.
var tallies = [captureTallyTALLIES]string{
	captureTallyCONNECT_REDIRECTED:   "connect_redirected",
	captureTallyCONNECT_TO_PROXY:     "connect_to_proxy",
	captureTallyCONNECT_NETNS:        "connect_netns",
	captureTallyCONNECT_PROTOCOL:     "connect_protocol",
	captureTallyCONNECT_UNREMEMBERED: "connect_unremembered",
	captureTallyCONNECT_FOREIGN:      "connect_foreign",
	captureTallyHANDOVER_FULL:        "handover_full",
	captureTallyHANDED_OVER:          "handed_over",
	captureTallyDATAGRAM_DNS:         "datagram_dns",
	captureTallyDATAGRAM_DENIED:      "datagram_denied",
	captureTallySOCKET_RAW:           "socket_raw",
	captureTallySOCKET_PING:          "socket_ping",
	captureTallySOCKET_MPTCP:         "socket_mptcp",
	captureTallySOCKET_UDPLITE:       "socket_udplite",
	captureTallySOCKET_SCTP:          "socket_sctp",
	captureTallySOCKET_OTHER:         "socket_other",
	captureTallyOPTION_DENIED:        "option_denied",
	captureTallyOPTION_SWALLOWED:     "option_swallowed",
	captureTallyBIND_DENIED:          "bind_denied",
	captureTallyPACKET_DROPPED:       "packet_dropped",
}

// Counts reads the kernel's counters.
func (d *Door) Counts() ([]Count, error) {
	var list []Count
	var key captureCountKey
	var perCPU []uint64
	entries := d.maps[captureMapCounts].Iterate()
	for entries.Next(&key, &perCPU) {
		c := Count{Enrollment: key.Enrollment, What: "unknown"}
		if int(key.Tally) < len(tallies) {
			c.What = tallies[key.Tally]
		}
		for _, n := range perCPU {
			c.N += n
		}
		list = append(list, c)
	}
	return list, entries.Err()
}

// HandedOver is how many connections of enrolled processes reached the proxy's listener.
func (d *Door) HandedOver() (uint64, error) {
	var perCPU []uint64
	err := d.maps[captureMapCounts].Lookup(captureCountKey{Tally: captureTallyHANDED_OVER}, &perCPU)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return 0, fmt.Errorf("read the count of connections: %w", err)
	}
	sum := uint64(0)
	for _, n := range perCPU {
		sum += n
	}
	return sum, nil
}

// Life names what the counters count in: another boot of the host, or maps made anew, have another
// number, and begin at nothing. It is never 0.
func (d *Door) Life() (uint64, error) {
	info, err := d.maps[captureMapCounts].Info()
	if err != nil {
		return 0, fmt.Errorf("look at the counters: %w", err)
	}
	id, ok := info.ID()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || !ok {
		return 0, errors.Join(errors.New("the counters have no number"), err)
	}
	h := fnv.New32a()
	h.Write(boot)
	const bits = 53 - 32 // of the boot: a JSON number holds 53
	return uint64(h.Sum32())>>(32-bits)<<32 | uint64(id), nil
}

// Enrolled lists the numbers the kernel has: of the enrollments that are pinned, and of those
// that only the root's programs know of.
func (d *Door) Enrolled() ([]uint32, error) {
	pinned, err := os.ReadDir(d.pin("enrolled"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var list []uint32
	for _, e := range pinned {
		if id, err := strconv.ParseUint(e.Name(), 10, 32); err == nil {
			list = append(list, uint32(id))
		}
	}
	var cgroup uint64
	var id uint32
	known := d.maps[captureMapEnrolled].Iterate()
	for known.Next(&cgroup, &id) {
		list = append(list, id)
	}
	slices.Sort(list)
	return slices.Compact(list), known.Err()
}

// Covers says whether a cgroup directory, or one above it, is enrolled as the kernel has it,
// whatever a registry knows. An error is not a no.
func (d *Door) Covers(path string) (bool, error) {
	for root := filepath.Clean(d.options.CgroupRoot); len(path) > len(root); path = filepath.Dir(path) {
		cgroup, err := cgroupID(path)
		if err != nil {
			return false, err
		}
		var id uint32
		err = d.maps[captureMapEnrolled].Lookup(cgroup, &id)
		if !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err == nil, err
		}
	}
	return false, nil
}

// Close lets go of the kernel half and leaves it in place: enrolled processes
// are refused until a daemon opens it again.
func (d *Door) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, l := range d.links {
		errs = append(errs, l.Close())
	}
	for _, m := range d.maps {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	clear(d.links)
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
		d.lock = nil
	}
	return errors.Join(errs...)
}

// Remove takes every program and map below a pin directory away: processes that
// were enrolled are free afterwards. While a door is open there it is refused.
func Remove(pinDir string) error {
	if !isBPFFS(pinDir) {
		return nil
	}
	lock, err := seize(pinDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	var errs []error
	for _, part := range []string{"enrolled", "root", "maps"} {
		errs = append(errs, os.RemoveAll(filepath.Join(pinDir, part)))
	}
	if strings.Count(filepath.Clean(pinDir), "/") > 3 || filepath.Dir(pinDir) == usualBPFFS {
		errs = append(errs, os.Remove(pinDir))
	}
	return errors.Join(errs...)
}
