package sqlread

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is one confined process that reads texts. One goroutine has it at a time.
type child struct {
	cmd  *exec.Cmd
	in   *os.File // our end of its standard input
	out  *os.File // our end of its standard output
	read int      // texts read
}

// spawn starts a child and waits until it has confined itself. The caller stops it.
func spawn(argv []string, patience time.Duration) (*child, error) {
	c, err := launch(argv, isolation())
	if err != nil && errors.Is(err, syscall.EPERM) {
		c, err = launch(argv, nil) // in a container: the filter alone keeps it off the network
	}
	if err != nil {
		return nil, fmt.Errorf("start the reader: %w", err)
	}
	c.out.SetReadDeadline(time.Now().Add(patience))
	hello, err := readFrame(c.out, len(greeting))
	if err != nil || string(hello) != greeting {
		c.stop()
		return nil, fmt.Errorf("the reader did not confine itself: %w", errors.Join(err, errNotReady))
	}
	return c, nil
}

var errNotReady = errors.New("no greeting")

// isolation gives a child namespaces of its own where we may.
func isolation() *syscall.SysProcAttr {
	if os.Geteuid() != 0 {
		return nil
	}
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS}
}

// launch starts the process with two pipes, no environment and nowhere to speak.
func launch(argv []string, attr *syscall.SysProcAttr) (*child, error) {
	itsIn, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	out, itsOut, err := os.Pipe()
	if err != nil {
		itsIn.Close()
		in.Close()
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	cmd := &exec.Cmd{Path: argv[0], Args: argv, Env: []string{}, Dir: "/", Stdin: itsIn, Stdout: itsOut, SysProcAttr: attr}
	err = cmd.Start()
	itsIn.Close()
	itsOut.Close()
	if err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	return &child{cmd: cmd, in: in, out: out}, nil
}

// ask reads one text. After an error the child is of no more use.
func (c *child) ask(text string, patience time.Duration) (answer, error) {
	deadline := time.Now().Add(patience)
	c.in.SetWriteDeadline(deadline)
	c.out.SetReadDeadline(deadline)
	c.read++
	if err := writeFrame(c.in, []byte(text)); err != nil {
		return answer{}, err
	}
	body, err := readFrame(c.out, maxAnswer)
	if err != nil {
		return answer{}, err
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return answer{}, fmt.Errorf("decode a reading: %w", err)
	}
	return a, nil
}

// stop ends the process and waits for it.
func (c *child) stop() {
	c.in.Close()
	c.out.Close()
	c.cmd.Process.Kill()
	c.cmd.Wait() // its error says that it was killed
}

// gone says that the process ended while nobody asked it: what is readable from an
// idle child can only be its end.
func (c *child) gone() bool {
	raw, err := c.out.SyscallConn()
	if err != nil {
		return true
	}
	readable := true
	err = raw.Control(func(fd uintptr) {
		set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(set, 0)
		readable = err != nil || n != 0
	})
	return err != nil || readable
}
