package bpf

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"
)

// Feature is something the kernel has or has not, found by trying.
type Feature struct {
	Name   string
	OK     bool
	Core   bool // without it nothing is enforced
	Effect string
}

// layer is an optional program type: what it would add.
type layer struct {
	name          string
	spec          ebpf.ProgramSpec
	with, without string
}

// Features loads each core program alone, and probes the optional layers.
func Features() []Feature {
	if err := rlimit.RemoveMemlock(); err != nil {
		return []Feature{{Name: "memlock limit", Core: true, Effect: err.Error()}}
	}
	list := []Feature{core()}
	cookie, err := netnsCookie()
	list = append(list, Feature{"network namespace cookies", err == nil && cookie != 0, true, "connections of other network namespaces are told apart and refused"})
	for _, l := range layers() {
		p, err := ebpf.NewProgram(&l.spec)
		f := Feature{Name: l.name, Effect: l.with} // not OK either way: this version uses none of them
		if err != nil {
			f.Effect = l.without
		} else {
			p.Close()
		}
		list = append(list, f)
	}
	return list
}

// core tries every program that is always attached, one at a time.
func core() Feature {
	var failed []error
	for _, a := range append(append([]attachment{}, atRoot...), atEnrolled...) {
		spec, err := loadCapture()
		if err != nil {
			return Feature{Name: "core programs", Core: true, Effect: err.Error()}
		}
		keep(spec, []attachment{a})
		c, err := ebpf.NewCollection(spec)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", a.program, err))
			continue
		}
		c.Close()
	}
	if len(failed) > 0 {
		return Feature{Name: "core programs", Core: true, Effect: errors.Join(failed...).Error()}
	}
	return Feature{"core programs", true, true, "TCP is turned to the proxy; raw, UDP-Lite, SCTP and MPTCP sockets and datagrams other than DNS are refused"}
}

// layers are what newer or differently built kernels could add.
func layers() []layer {
	allow := asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}
	zero := asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	return []layer{
		{"unix socket hooks", ebpf.ProgramSpec{Type: ebpf.CGroupSockAddr, AttachType: ebpf.AttachCgroupUnixConnect, Instructions: allow, License: "GPL"},
			"this kernel could refuse unix sockets; this version does not yet: keep docker, D-Bus and database sockets away from enrolled processes",
			"unix sockets are not hooked: keep docker, D-Bus and database sockets away from enrolled processes"},
		{"BPF LSM", ebpf.ProgramSpec{Type: ebpf.LSM, AttachType: ebpf.AttachLSMMac, AttachTo: "socket_create", Instructions: zero, License: "GPL"},
			"this kernel could refuse packet and vsock sockets; this version does not yet: do not give enrolled processes CAP_NET_RAW",
			"packet and vsock sockets are not hooked: do not give enrolled processes CAP_NET_RAW"},
	}
}

// CanPin says whether links can be pinned in dir, so that a killed daemon leaves
// its processes refused.
func CanPin(dir string) error {
	if err := onBPFFS(dir); err != nil {
		return err
	}
	probe := dir + "/probe"
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return explain(err)
	}
	defer m.Close()
	if err := m.Pin(probe); err != nil {
		return fmt.Errorf("pin in %s: %w", dir, err)
	}
	return os.Remove(probe)
}
