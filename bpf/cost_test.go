package bpf

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkConnectOfOthers is connect() of a process that is not enrolled, as deep below the root as one
// that is, with the programs against without: at most 1.10 times. Both alternate each few
// milliseconds, in one thread on one CPU, and the median is of the rounds whose two readings without agree. What another
// program at the root has made everybody pay is not in it: a host without any shows more.
// go test -bench ConnectOfOthers -benchtime 100x ./bpf
func BenchmarkConnectOfOthers(b *testing.B) {
	l := listenRaw(b)
	to, err := unix.Getsockname(l)
	if err != nil {
		b.Fatal(err)
	}
	proxy, port := listen(b)
	defer proxy.Close()
	bystand(b, fmt.Sprintf("chaperone-test-bystander-%d", port))
	for name, once := range map[string]func(testing.TB) time.Duration{
		"tcp": func(b testing.TB) time.Duration { return connectTCP(b, l, to) },
		"udp": func(b testing.TB) time.Duration { return connectUDP(b, to) },
	} {
		b.Run(name, func(b *testing.B) {
			alone(b)
			var ratios, plain []float64
			for b.Loop() {
				before := quick(b, once)
				withdraw := hook(b, port)
				with := quick(b, once)
				withdraw()
				after := quick(b, once)
				without := (before + after) / 2
				if max(before, after) < 1.05*min(before, after) {
					ratios, plain = append(ratios, with/without), append(plain, without)
				}
			}
			if len(ratios) == 0 {
				b.Skip("the machine is too busy to tell")
			}
			slices.Sort(ratios)
			slices.Sort(plain)
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
			b.ReportMetric(plain[len(plain)/2], "ns/connect")
			b.ReportMetric(float64(len(ratios)), "rounds")
			b.ReportMetric(0, "ns/op") // of a round: means nothing
		})
	}
}

// quick is the mean of the faster two fifths of some hundred connects, in nanoseconds: a neighbour's
// turn on the CPU is not in it.
func quick(b *testing.B, once func(testing.TB) time.Duration) float64 {
	const n = 150
	var took [n]time.Duration
	for range n / 3 {
		once(b) // caches
	}
	for i := range took {
		took[i] = once(b)
	}
	slices.Sort(took[:])
	var sum time.Duration
	for _, d := range took[n/20 : n*2/5] {
		sum += d
	}
	return float64(sum) / (n*2/5 - n/20)
}

// hook attaches all programs, and returns what takes them off again.
func hook(b *testing.B, port uint16) (withdraw func()) {
	pins := filepath.Join("/sys/fs/bpf", fmt.Sprintf("chaperone-test-%d-%d", os.Getpid(), port))
	d, err := Open(Options{PinDir: pins, CgroupRoot: cgroupRoot, Port: port})
	if err != nil {
		b.Fatal(err)
	}
	cgroup := filepath.Join(cgroupRoot, filepath.Base(pins))
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		b.Fatal(err)
	}
	if err := d.Enroll(cgroup, 7); err != nil {
		b.Fatal(err)
	}
	return func() {
		for pin := range d.links {
			_ = d.drop(pin) // at once: an unpinned link stays for a while
		}
		d.Close()
		if err := Remove(pins); err != nil {
			b.Fatal(err)
		}
		if err := os.Remove(cgroup); err != nil {
			b.Fatal(err)
		}
	}
}

// alone keeps the benchmark on the last CPU; what it sends over loopback is received there.
func alone(b *testing.B) {
	runtime.LockOSThread() // and never unlocked: the thread ends with it
	var one unix.CPUSet
	one.Set(runtime.NumCPU() - 1)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		b.Fatal(err)
	}
}

// bystand moves this process into a cgroup of its own until the benchmark is over.
func bystand(b *testing.B, name string) {
	cgroup := makeCgroup(b, name)
	move := func(to string) error {
		return os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte("0"), 0)
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		b.Fatal(err)
	}
	_, back, _ := strings.Cut("\n"+string(text), "\n0::")
	if err := move(cgroup); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := move(filepath.Join(cgroupRoot, strings.TrimSpace(back))); err != nil {
			b.Error(err)
		}
	})
}

// listenRaw listens where nobody waits: who connects wakes nobody up.
func listenRaw(b *testing.B) int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		b.Fatal(err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		b.Fatal(err)
	}
	return fd
}

// connectTCP times one connect, accepts it and resets it.
func connectTCP(b testing.TB, l int, to unix.Sockaddr) time.Duration {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	err = unix.Connect(fd, to)
	took := time.Since(began)
	if err != nil {
		b.Fatal(err)
	}
	accepted, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
	if err != nil {
		b.Fatal(err)
	}
	unix.Close(accepted)
	return took
}

// connectUDP times connects of one socket: nearly nothing but the hook.
func connectUDP(b testing.TB, to unix.Sockaddr) time.Duration {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	const n = 10
	began := time.Now()
	for range n {
		if err := unix.Connect(fd, to); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(began) / n
}
