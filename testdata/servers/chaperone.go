package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Chaperone is a running daemon with state, socket and pins of its own.
type Chaperone struct {
	*Server
	binary string
	env    []string
}

// StartChaperone starts the daemon with one policy file and waits until it answers.
func StartChaperone(parent *Cgroup, dir, binary, policy string) (*Chaperone, error) {
	home := filepath.Join(dir, "chaperone")
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(home, "policy.yaml")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		return nil, err
	}
	pins := fmt.Sprintf("/sys/fs/bpf/chaperone-%d", os.Getpid())
	settings := []string{
		"CHAPERONE_CONFIG=" + filepath.Join(home, "chaperone.yaml"),
		"CHAPERONE_STATE_DIR=" + filepath.Join(home, "state"),
		"CHAPERONE_CONTROL_SOCKET=" + filepath.Join(home, "control.sock"),
		"CHAPERONE_PIN_DIR=" + pins,
		"CHAPERONE_LISTEN_PORT=0",
	}
	if err := os.WriteFile(filepath.Join(home, "chaperone.yaml"), nil, 0o600); err != nil {
		return nil, err
	}
	command := append(append([]string{"/usr/bin/env"}, settings...), binary, "daemon", "--policy", file)
	server, err := start(parent, home, "chaperone", nil, command...)
	if err != nil {
		return nil, err
	}
	daemon := &Chaperone{Server: server, binary: binary, env: append(os.Environ(), settings...)}
	return daemon, daemon.answers()
}

// answers waits for the control socket.
func (c *Chaperone) answers() error {
	var last string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		out, err := c.Run("status")
		if err == nil {
			return nil
		}
		last = out
		select {
		case <-c.gone:
			log, _ := os.ReadFile(filepath.Join(c.Dir, "chaperone.log")) // shown if it can be
			return fmt.Errorf("chaperone daemon ended at once:\n%s", log)
		default:
		}
	}
	return fmt.Errorf("chaperone daemon does not answer: %s", last)
}

// Run runs one verb against this daemon.
func (c *Chaperone) Run(args ...string) (string, error) {
	cmd := exec.Command(c.binary, args...)
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Enroll binds a cgroup to an identity.
func (c *Chaperone) Enroll(identity string, group *Cgroup) error {
	out, err := c.Run("enroll", "--identity", identity, "--cgroup", group.Name())
	if err != nil {
		return fmt.Errorf("enroll: %w: %s", err, strings.TrimSpace(out))
	}
	return nil
}

// Close stops the daemon and removes what it pinned.
func (c *Chaperone) Close() error {
	stopped := c.Stop(syscall.SIGTERM)
	out, err := c.Run("cleanup")
	if err != nil {
		err = fmt.Errorf("cleanup: %w: %s", err, out)
	}
	return errors.Join(stopped, err)
}
