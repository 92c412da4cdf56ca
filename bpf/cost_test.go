package bpf

import (
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkConnectOfOthers is connect() of a process that is not enrolled,
// without and with the programs at the root: at most 1.10 times.
func BenchmarkConnectOfOthers(b *testing.B) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 9}
	connect := func(b *testing.B) {
		for b.Loop() {
			if err := unix.Connect(fd, to); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("bare", connect)
	_, port := listen(b)
	enrolled(b, port)
	b.Run("hooked", connect)
}
