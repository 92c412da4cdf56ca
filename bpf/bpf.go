// Package bpf is the kernel half: programs that turn the connections of enrolled
// processes to the proxy, and the one door through which Go reaches them.
//
//	PINDIR/maps/<name>           shared by all loads
//	PINDIR/root/<program>        links at the cgroup root, deciding by the current task
//	PINDIR/enrolled/<id>/<program>  links at an enrolled cgroup
//
// # Why
//
// Identity is the attach point: each enrolled cgroup gets a load of its own
// with its number as a frozen constant, because every helper that could look an
// identity up reads the current task, which is not the socket's owner in just
// the cases an attacker makes. Links are pinned, so that a daemon that is killed leaves its
// processes refused, not free. Legacy attachment was turned down: root in a container can undo it.
//
// # What passes
//
// Datagrams to port 53 go to whom they are sent, unread, until there is a resolver to turn
// them to: names can carry data out that way. Everything else an enrolled
// process sends, or answers to who dials it, is turned to the proxy or dropped.
package bpf

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang -cflags "-O2 -g -Wall -Wpadded -Werror -mcpu=v3 -isystem /usr/include/x86_64-linux-gnu -isystem /usr/include/aarch64-linux-gnu" -target bpfel -go-package bpf -type origin -type caller -type count_key -type tally capture capture.bpf.c

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// attachment is a program with the place it hangs on to.
type attachment struct {
	program string
	at      ebpf.AttachType
}

// atRoot decide by the current task, or serve every turned socket. Processes that are not enrolled pay
// for these only: BenchmarkConnectOfOthers. Neither kind can do with enrolled cgroups: a socket made before the
// enrollment, or handed over, runs the programs of the cgroup it was made in.
var atRoot = []attachment{
	{captureProgHandover, ebpf.AttachCGroupSockOps},
	{captureProgGetpeername4, ebpf.AttachCgroupInet4GetPeername},
	{captureProgGetpeername6, ebpf.AttachCgroupInet6GetPeername},
	{captureProgConnect4, ebpf.AttachCGroupInet4Connect},
	{captureProgConnect6, ebpf.AttachCGroupInet6Connect},
	{captureProgSendmsg4, ebpf.AttachCGroupUDP4Sendmsg},
	{captureProgSendmsg6, ebpf.AttachCGroupUDP6Sendmsg},
	{captureProgBind4, ebpf.AttachCGroupInet4Bind},
	{captureProgBind6, ebpf.AttachCGroupInet6Bind},
}

// atEnrolled decide by the socket's cgroup. The first that refuse come first.
var atEnrolled = []attachment{
	{captureProgEgress, ebpf.AttachCGroupInetEgress},
	{captureProgConnect4, ebpf.AttachCGroupInet4Connect},
	{captureProgConnect6, ebpf.AttachCGroupInet6Connect},
	{captureProgSendmsg4, ebpf.AttachCGroupUDP4Sendmsg},
	{captureProgSendmsg6, ebpf.AttachCGroupUDP6Sendmsg},
	{captureProgServe, ebpf.AttachCGroupSockOps},
	{captureProgSockCreate, ebpf.AttachCGroupInetSockCreate},
	{captureProgSetOption, ebpf.AttachCGroupSetsockopt},
}

// Options says where the door stands.
type Options struct {
	PinDir     string // on a bpffs
	CgroupRoot string // where cgroup v2 is mounted
	Port       uint16 // of the proxy's listeners on loopback
}

// Door reaches the kernel half. It keeps its links: one that is collected takes its hook along.
type Door struct {
	options Options
	netns   uint64
	lock    *os.File // the pin directory, for this process alone until Close
	maps    map[string]*ebpf.Map

	mu    sync.Mutex           // guards links and the order of what is done to them
	links map[string]link.Link // by pin path
}

// Errors of Open that have a cure.
var (
	ErrNoBPFFS = errors.New("no bpf file system")
	ErrNoRight = errors.New("not permitted to load BPF programs")
	ErrBusy    = errors.New("another process uses the pin directory")
	ErrVersion = errors.New("pinned by another version of Chaperone")
)

// Open loads the maps and attaches the programs at the cgroup root, taking over what an
// earlier daemon pinned. Nothing is enrolled by it that was not before. Two doors with the same
// pins would take each other's links off: the second is refused.
func Open(o Options) (*Door, error) {
	if o.Port == 0 {
		return nil, errors.New("open the kernel half: no proxy port")
	}
	if err := onBPFFS(o.PinDir); err != nil {
		return nil, err
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the memlock limit: %w", err)
	}
	netns, err := netnsCookie()
	if err != nil {
		return nil, err
	}
	lock, err := seize(o.PinDir)
	if err != nil {
		return nil, err
	}
	d := &Door{options: o, netns: netns, lock: lock, maps: map[string]*ebpf.Map{}, links: map[string]link.Link{}}
	if err := d.openMaps(); err != nil {
		return nil, errors.Join(explain(err), d.Close())
	}
	if err := d.count(0); err != nil {
		return nil, errors.Join(explain(err), d.Close())
	}
	if err := notElsewhere(d.pin("root"), o.CgroupRoot, o.CgroupRoot); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if err := d.attach(0, o.CgroupRoot, d.pin("root"), atRoot); err != nil {
		return nil, errors.Join(explain(err), d.Close())
	}
	return d, nil
}

// explain adds what a person can do about an error of the kernel.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (root, or CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN, is needed): %w", ErrNoRight, err)
	}
	return err
}

func (d *Door) pin(parts ...string) string {
	return filepath.Join(append([]string{d.options.PinDir}, parts...)...)
}

// openMaps makes the shared maps, or takes those that are pinned.
func (d *Door) openMaps() error {
	spec, err := loadCapture()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.pin("maps"), 0o700); err != nil {
		return fmt.Errorf("pin maps: %w", err)
	}
	for _, name := range sharedMaps {
		spec.Maps[name].Pinning = ebpf.PinByName
		if d.maps[name], err = d.openMap(name, spec.Maps[name]); err != nil {
			return fmt.Errorf("map %s: %w", name, err)
		}
	}
	if err := d.markAll(); err != nil {
		return fmt.Errorf("mark what is enrolled: %w", err)
	}
	return nil
}

// openMap makes a map, or takes the one that is pinned. What another version of Chaperone pinned for connections is
// made anew: they ended with that daemon. What holds enrollments is never thrown away.
func (d *Door) openMap(name string, spec *ebpf.MapSpec) (*ebpf.Map, error) {
	options := ebpf.MapOptions{PinPath: d.pin("maps")}
	m, err := ebpf.NewMapWithOptions(spec, options)
	if !errors.Is(err, ebpf.ErrMapIncompatible) {
		return m, err
	}
	if !slices.Contains(connectionMaps, name) {
		return nil, fmt.Errorf("%w: %w", ErrVersion, err)
	}
	if err := os.Remove(d.pin("maps", name)); err != nil {
		return nil, fmt.Errorf("unpin: %w", err)
	}
	return ebpf.NewMapWithOptions(spec, options)
}

// connectionMaps hold what is remembered of connections, for as long as they live.
var connectionMaps = []string{captureMapOrigins, captureMapArrivals, captureMapAccepted, captureMapHandovers}

var sharedMaps = []string{captureMapOrigins, captureMapArrivals, captureMapAccepted, captureMapHandovers, captureMapEnrolled, captureMapLevels, captureMapMarks, captureMapCounts}

// netnsCookie identifies the network namespace of the calling thread.
func netnsCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("network namespace cookie: %w", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("network namespace cookie (kernel 5.14 or later): %w", err)
	}
	return cookie, nil
}

// onBPFFS says whether dir can be pinned to, mounting a bpffs where it usually is.
func onBPFFS(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil && !errors.Is(err, fs.ErrPermission) {
		if err := mountBPFFS(); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make %s: %w", dir, err)
		}
	}
	if isBPFFS(dir) {
		return nil
	}
	if err := mountBPFFS(); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	if !isBPFFS(dir) {
		return fmt.Errorf("%w at %s (mount -t bpf bpf /sys/fs/bpf, or set CHAPERONE_PIN_DIR)", ErrNoBPFFS, dir)
	}
	return nil
}

func isBPFFS(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && s.Type == unix.BPF_FS_MAGIC
}

const usualBPFFS = "/sys/fs/bpf"

func mountBPFFS() error {
	if isBPFFS(usualBPFFS) {
		return nil
	}
	if err := unix.Mount("bpf", usualBPFFS, "bpf", 0, "mode=0700"); err != nil {
		return fmt.Errorf("%w, and it could not be mounted at %s: %w", ErrNoBPFFS, usualBPFFS, err)
	}
	return nil
}
