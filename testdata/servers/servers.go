// Package servers starts the throw-away servers that stories, compatibility
// suites and measurements run against: PostgreSQL, the proxies beside which
// Chaperone is measured, and Chaperone itself. Each stands in its own folder, on a port
// of its own, in a cgroup of its own, and is gone after Stop.
package servers

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// patience is how long a server may take to start or to stop.
const patience = 30 * time.Second

// Server is one running server process.
type Server struct {
	Port    int
	Dir     string
	Cgroup  *Cgroup
	command *exec.Cmd
	gone    chan struct{}
}

// Addr is where a client reaches the server.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// PID of the server's first process.
func (s *Server) PID() int { return s.command.Process.Pid }

// Stop ends the server (sig, then SIGKILL), waits for it and removes its cgroup.
func (s *Server) Stop(sig syscall.Signal) error {
	_ = s.command.Process.Signal(sig) // gone already is fine
	select {
	case <-s.gone:
	case <-time.After(patience):
		_ = s.command.Process.Kill()
		<-s.gone
	}
	return s.Cgroup.Remove()
}

// start runs command as name inside a cgroup below parent; its output goes to
// DIR/NAME.log.
func start(parent *Cgroup, dir, name string, as *syscall.Credential, command ...string) (*Server, error) {
	group, err := parent.Child(name)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: group.FD(), Credential: as, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	server := &Server{Dir: dir, Cgroup: group, command: cmd, gone: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(server.gone)
	}()
	return server, nil
}

// ready waits until the server accepts connections.
func (s *Server) ready(network, addr string) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial(network, addr); err == nil {
			return conn.Close()
		}
		select {
		case <-s.gone:
			return fmt.Errorf("%s ended at once (see %s)", filepath.Base(s.command.Path), s.Dir)
		default:
		}
	}
	return fmt.Errorf("%s does not answer at %s (see %s)", filepath.Base(s.command.Path), addr, s.Dir)
}

// FreePort finds a TCP port that nobody listens on now.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Account is the unprivileged user that servers run as: PostgreSQL refuses root.
func Account() (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("%w (hint: deploy/install-deps.sh)", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// folder makes dir/name and gives it to account.
func folder(dir, name string, account *syscall.Credential) (string, error) {
	path := filepath.Join(dir, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		return "", err
	}
	return path, os.Chown(path, int(account.Uid), int(account.Gid))
}
