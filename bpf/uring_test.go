package bpf

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The parts of io_uring(7) that one request needs, as in linux/io_uring.h.
type uringParams struct {
	sqEntries, cqEntries, flags, cpu, idle, features, wq uint32
	_                                                    [3]uint32
	sq                                                   struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		_                                                   uint64
	}
}

type uringSQE struct {
	opcode, flags uint8
	ioprio        uint16
	fd            int32
	off, addr     uint64
	len, op       uint32
	data          uint64
	_             [3]uint64
}

const (
	uringConnect  = 16
	uringOffSQEs  = 0x10000000
	uringGetEvent = 1
)

// uringDo submits one request and returns its result, a negative errno on failure.
func uringDo(sqe uringSQE) (int32, error) {
	var p uringParams
	ring, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(int(ring))
	rings, err := unix.Mmap(int(ring), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	sqes, err := unix.Mmap(int(ring), uringOffSQEs, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	*(*uringSQE)(unsafe.Pointer(&sqes[0])) = sqe
	*(*uint32)(unsafe.Pointer(&rings[p.sq.array])) = 0
	*(*uint32)(unsafe.Pointer(&rings[p.sq.tail]))++
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, ring, 1, 1, uringGetEvent, 0, 0); errno != 0 {
		return 0, errno
	}
	return *(*int32)(unsafe.Pointer(&rings[p.cq.cqes+8])), nil
}

func probeURing(args []string) (string, error) {
	sa, family := sockaddr(args[0])
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return "", err
	}
	to := sa.(*unix.SockaddrInet4)
	raw := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: uint16(to.Port)<<8 | uint16(to.Port)>>8, Addr: to.Addr}
	result, err := uringDo(uringSQE{opcode: uringConnect, fd: int32(fd), off: unix.SizeofSockaddrInet4, addr: uint64(uintptr(unsafe.Pointer(&raw)))})
	runtime.KeepAlive(&raw)
	if err != nil {
		return "", err
	}
	if result < 0 {
		return "", unix.Errno(-result)
	}
	return told(fd)
}

// disconnect is connect() to AF_UNSPEC.
func disconnect(fd int) error {
	var none unix.RawSockaddr
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(none))
	if errno != 0 {
		return errno
	}
	return nil
}
