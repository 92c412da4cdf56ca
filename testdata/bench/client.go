package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// client is this program on the other end: `bench client drain|idle`.
// It does as little as a client can, so that what is measured is between.
func client(args []string) error {
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	port := flags.Int("port", 0, "of the server")
	span := flags.Duration("for", time.Second, "how long")
	count := flags.Int("n", 1, "how many connections")
	if len(args) == 0 {
		return errors.New("which client?")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", *port)
	switch args[0] {
	case "drain":
		return drain(addr, flags.Arg(0), *span)
	case "idle":
		return idle(addr, *count)
	}
	return fmt.Errorf("unknown client %q", args[0])
}

// drain asks sql again and again for span, and prints megabytes and seconds.
func drain(addr, sql string, span time.Duration) error {
	conn, in, err := login(addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	query := message('Q', append([]byte(sql), 0))
	var total int64
	began := time.Now()
	for time.Since(began) < span {
		if _, err := conn.Write(query); err != nil {
			return err
		}
		n, err := settle(in)
		if err != nil {
			return err
		}
		total += n
	}
	fmt.Println(float64(total)/1e6, time.Since(began).Seconds())
	return nil
}

// idle opens n connections, says so, and holds them until it is told to stop.
func idle(addr string, n int) error {
	for range n {
		conn, _, err := login(addr)
		if err != nil {
			return err
		}
		defer conn.Close()
	}
	fmt.Println("open")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	return nil
}

// once times one connect. Closing with a reset leaves no TIME_WAIT behind.
func once(target syscall.Sockaddr) (time.Duration, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer syscall.Close(fd)
	if err := syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}); err != nil {
		return 0, err
	}
	began := time.Now()
	err = syscall.Connect(fd, target)
	return time.Since(began), err
}

// login opens a PostgreSQL session as postgres on database bench, trusted.
func login(addr string) (net.Conn, *bufio.Reader, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	body := append(binary.BigEndian.AppendUint32(nil, 196608), "user\x00postgres\x00database\x00bench\x00\x00"...)
	startup := append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)
	if _, err := conn.Write(startup); err != nil {
		return nil, nil, err
	}
	in := bufio.NewReaderSize(conn, 256<<10)
	_, err = settle(in)
	return conn, in, err
}

// message frames a PostgreSQL message: type, length of itself and body, body.
func message(kind byte, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...)
}

// settle reads until ReadyForQuery and counts the bytes; an error of the server is one here.
func settle(in *bufio.Reader) (int64, error) {
	var total int64
	for {
		head, err := in.Peek(5)
		if err != nil {
			return total, err
		}
		kind, size := head[0], 1+int(binary.BigEndian.Uint32(head[1:]))
		if kind == 'E' {
			text, _ := in.Peek(size) // best effort: it is only to be shown
			return total, fmt.Errorf("the server says %q", text)
		}
		if _, err := in.Discard(size); err != nil {
			return total, err
		}
		if total += int64(size); kind == 'Z' {
			return total, nil
		}
	}
}
