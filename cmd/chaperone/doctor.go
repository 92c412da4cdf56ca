package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/chaperone-dev/chaperone/bpf"
	"github.com/chaperone-dev/chaperone/pkg/cgroup2"
	"github.com/chaperone-dev/chaperone/pkg/config"
	"github.com/chaperone-dev/chaperone/pkg/enroll"
)

// finding is one line of doctor's: a capability, and what follows from it.
type finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Needed bool   `json:"needed"` // without it nothing is enforced
	Effect string `json:"effect"`
}

func newDoctor() *cobra.Command {
	cmd := &cobra.Command{Use: "doctor", Short: "what this kernel and host can enforce", Args: args(cobra.NoArgs)}
	config.DaemonFlags(cmd.Flags())
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := config.Load(cmd.Flags())
		if err != nil {
			return usageError{err}
		}
		findings := examine(c)
		l := listing{Header: []string{"", "WHAT", "EFFECT"}, Values: findings}
		sick := false
		for _, f := range findings {
			mark := "ok"
			switch {
			case !f.OK && f.Needed:
				mark, sick = "MISSING", true
			case !f.OK:
				mark = "limited"
			}
			l.Rows = append(l.Rows, []string{mark, f.Name, f.Effect})
		}
		if err := show(*format, l); err != nil {
			return err
		}
		if sick {
			return exitCode(exitFailed)
		}
		return nil
	}
	return cmd
}

// examine looks at the host, in the order in which things build on each other.
func examine(c *config.Config) []finding {
	findings := []finding{
		needed("root", os.Geteuid() == 0, "programs can be loaded and cgroups enrolled", "run as root: sudo chaperone doctor"),
	}
	missing := missingCapabilities()
	findings = append(findings, rights(missing))
	root, err := cgroup2.Root()
	findings = append(findings, needed("cgroup v2", err == nil, "mounted at "+root, fmt.Sprint(err)))
	if err == nil && loads(missing) { // without them each program fails, and says something else
		for _, f := range bpf.Features() {
			findings = append(findings, finding{f.Name, f.OK, f.Core, f.Effect})
		}
	}
	if loads(missing) {
		mounts := !slices.ContainsFunc(missing, func(c capability) bool { return c.bit == unix.CAP_SYS_ADMIN })
		findings = append(findings, pinning(c.PinDir, mounts))
	}
	findings = append(findings,
		port(c.Listen.Port),
		limited("kernel", true, release(), ""),
		limited("IPv6 loopback", ipv6(), "IPv6 connections are proxied", "no ::1 here: IPv6 connections of enrolled processes are refused"),
		tracing("/proc/sys/kernel/yama/ptrace_scope"),
		typing("/proc/sys/dev/tty/legacy_tiocsti"),
		needed("state directory", writable(c.StateDir), c.StateDir+" can be written", c.StateDir+" cannot be written: nothing could be recorded"),
	)
	return findings
}

// survey looks at the host as doctor does, for status. It takes a second or so.
func (h *house) survey() {
	notes := []string{}
	for _, f := range examine(h.config) {
		if !f.OK {
			notes = append(notes, f.Name+": "+f.Effect)
		}
	}
	h.notes.Store(&notes)
}

// shortcomings are what survey found so far.
func (h *house) shortcomings() []string {
	if notes := h.notes.Load(); notes != nil {
		return *notes
	}
	return nil
}

func needed(name string, ok bool, good, bad string) finding {
	f := limited(name, ok, good, bad)
	f.Needed = true
	return f
}

func limited(name string, ok bool, good, bad string) finding {
	if ok {
		return finding{Name: name, OK: true, Effect: good}
	}
	return finding{Name: name, Effect: bad}
}

// port says whether the proxy's port is its own when the daemon is away.
func port(n uint16) finding {
	if n == 0 {
		return finding{Name: "proxy's port", Effect: "another each time, and anybody's while the daemon is away: set listen.port"}
	}
	err := enroll.CheckPort(n)
	return needed("proxy's port", err == nil, fmt.Sprintf("%d is given to nobody who does not ask for it", n),
		fmt.Sprintf("%v: set listen.port outside of net.ipv4.ip_local_port_range, or name it in net.ipv4.ip_local_reserved_ports", err))
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func ipv6() bool {
	data, err := os.ReadFile("/proc/net/if_inet6")
	return err == nil && strings.Contains(string(data), "00000000000000000000000000000001")
}

// tracing is about ptrace(2) within one user, which Yama restrains where the kernel has it.
func tracing(scope string) finding {
	f := limited("tracing", set(scope), "enrolled processes cannot trace other processes of their user",
		"an enrolled process can trace other processes of its user: set kernel.yama.ptrace_scope=1, or give it a user of its own")
	if _, err := os.Stat(scope); err != nil {
		f.Effect = "an enrolled process can trace other processes of its user, and this kernel has no Yama to forbid it: give it a user of its own"
	}
	return f
}

// typing is about TIOCSTI (ioctl_tty(2)), which can be turned off since Linux 6.2.
func typing(legacy string) finding {
	_, err := os.Stat(legacy)
	f := limited("typing into terminals", err == nil && !set(legacy), "a command run on your terminal cannot type into it",
		"a command run on your terminal can type into it, as you: set dev.tty.legacy_tiocsti=0, or run it without a terminal")
	if err != nil {
		f.Effect = "a command run on your terminal can type into it, as you, and this kernel cannot forbid it (6.2 can): run it without a terminal"
	}
	return f
}

// set says that a sysctl is there and not zero.
func set(file string) bool {
	data, err := os.ReadFile(file)
	return err == nil && strings.TrimSpace(string(data)) != "0"
}

// writable says that dir, or the place where it would be made, can be written.
func writable(dir string) bool {
	for dir != "/" && dir != "." {
		if info, err := os.Stat(dir); err == nil {
			return info.IsDir() && unix.Access(dir, unix.W_OK) == nil
		}
		dir = dir[:strings.LastIndexByte(dir, '/')]
	}
	return true
}
