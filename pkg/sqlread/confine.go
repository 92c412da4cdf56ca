package sqlread

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nobody is the user and group the child becomes when it is started as root.
const nobody = 65534

// confine gives up everything but reading and writing what is open: user, groups and
// capabilities, limits, and all system calls the Go runtime and the parser do not need.
func confine() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := limit(); err != nil {
		return err
	}
	if err := renounce(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set the parent death signal: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return seal()
}

// limit bounds memory to what is mapped now and 1 GiB, forbids files and core dumps,
// and ends a child that nobody watches any more.
func limit() error {
	mapped, err := mappedBytes()
	if err != nil {
		return err
	}
	for _, l := range []struct {
		resource int
		most     uint64
	}{
		{unix.RLIMIT_AS, mapped + 1<<30},
		{unix.RLIMIT_CPU, 3600}, // seconds; the pool replaces a child long before
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_NOFILE, 0},
		{unix.RLIMIT_FSIZE, 0},
	} {
		if err := unix.Setrlimit(l.resource, &unix.Rlimit{Cur: l.most, Max: l.most}); err != nil {
			return fmt.Errorf("set limit %d: %w", l.resource, err)
		}
	}
	return nil
}

// mappedBytes is the address space in use: /proc/self/statm, first field, in pages.
func mappedBytes() (uint64, error) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("read the size of this process: %w", err)
	}
	var pages uint64
	if _, err := fmt.Sscan(strings.TrimSpace(string(statm)), &pages); err != nil {
		return 0, fmt.Errorf("read the size of this process: %w", err)
	}
	return pages * uint64(os.Getpagesize()), nil
}

// renounce becomes nobody, on all threads; leaving uid 0 clears the capabilities.
func renounce() error {
	if os.Geteuid() != 0 {
		return nil
	}
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("drop groups: %w", err)
	}
	if err := syscall.Setresgid(nobody, nobody, nobody); err != nil {
		return fmt.Errorf("become group nobody: %w", err)
	}
	if err := syscall.Setresuid(nobody, nobody, nobody); err != nil {
		return fmt.Errorf("become nobody: %w", err)
	}
	return nil
}

// allowed are the system calls that the Go runtime and malloc need.
var allowed = []uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_FUTEX, unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MREMAP, unix.SYS_MADVISE,
	unix.SYS_MPROTECT, unix.SYS_BRK, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN,
	unix.SYS_SIGALTSTACK, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY,
	unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETTID, unix.SYS_GETPID, unix.SYS_GETRANDOM,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_RESTART_SYSCALL, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_CLOSE,
	unix.SYS_EPOLL_PWAIT, // the scheduler asks, once any file was opened before the seal
	unix.SYS_PREAD64,     // the runtime watches its CPU limit (cpu.max, open since start)
}

// refused are calls that fail instead of ending the child, because the C library
// tries them and goes on without.
var refused = []struct {
	call  uint32
	errno unix.Errno
}{
	{unix.SYS_OPENAT, unix.EACCES}, // malloc looks at /proc/sys/vm/overcommit_memory
	{unix.SYS_CLONE3, unix.ENOSYS}, // its flags lie in memory, where a filter cannot look: clone is asked next
	{unix.SYS_PRCTL, unix.EINVAL},  // the Go runtime names its mappings
	{unix.SYS_PRLIMIT64, unix.EPERM},
	{unix.SYS_FCNTL, unix.EPERM},
}

// Offsets in struct seccomp_data (linux/seccomp.h).
const (
	dataCall = 0
	dataArch = 4
	dataArg0 = 16 // low half, on little-endian machines
)

// seal installs the filter on every thread: any other system call ends the process.
func seal() error {
	program := filter(uint32(os.Getpid()))
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	failed, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("install the system call filter: %w", errno)
	}
	if failed != 0 {
		return fmt.Errorf("install the system call filter: thread %d did not take it", failed)
	}
	return nil
}

// filter writes the program: the allowed calls, clone for threads only, signals to
// this process only.
func filter(pid uint32) []unix.SockFilter {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	is := func(k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: yes, Jf: no, K: k}
	}
	end := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	allow, kill := end(unix.SECCOMP_RET_ALLOW), end(unix.SECCOMP_RET_KILL_PROCESS)

	p := []unix.SockFilter{load(dataArch), is(auditArch, 1, 0), kill, load(dataCall)}
	for _, nr := range allowed {
		p = append(p, is(nr, 0, 1), allow)
	}
	for _, r := range refused {
		p = append(p, is(r.call, 0, 1), end(unix.SECCOMP_RET_ERRNO|uint32(r.errno)))
	}
	threads := unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jt: 0, Jf: 1, K: unix.CLONE_THREAD}
	p = append(p, is(unix.SYS_CLONE, 0, 4), load(dataArg0), threads, allow, kill)
	p = append(p, is(unix.SYS_TGKILL, 0, 4), load(dataArg0), is(pid, 0, 1), allow, kill)
	return append(p, kill)
}
