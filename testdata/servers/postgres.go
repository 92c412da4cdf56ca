package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Bin is the folder of the newest PostgreSQL that Debian has installed.
func Bin() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("no PostgreSQL server found (hint: deploy/install-deps.sh)")
	}
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(found[len(found)-1]), nil
}

func version(initdb string) int {
	n, _ := strconv.Atoi(strings.Split(initdb, "/")[4]) // a name that is no number is the oldest
	return n
}

// StartPostgres starts an empty PostgreSQL in dir/postgres, superuser postgres,
// trusting every local connection unless hba says otherwise.
func StartPostgres(parent *Cgroup, dir, hba string, settings ...string) (*Server, error) {
	bin, err := Bin()
	if err != nil {
		return nil, err
	}
	account, err := Account()
	if err != nil {
		return nil, err
	}
	home, err := folder(dir, "postgres", account)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(home, "data")
	if err := initdb(bin, data, hba, account); err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	command := []string{filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port), "-k", home, "-c", "listen_addresses=127.0.0.1,::1"}
	for _, s := range settings {
		command = append(command, "-c", s)
	}
	server, err := start(parent, home, "postgres", account, command...)
	if err != nil {
		return nil, err
	}
	server.Port = port
	return server, server.awake(bin, account)
}

// initdb makes the data folder.
func initdb(bin, data, hba string, account *syscall.Credential) error {
	cmd := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: account}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if hba == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(hba), 0o600)
}

// awake waits until the server answers queries: it accepts before it can.
func (s *Server) awake(bin string, account *syscall.Credential) error {
	cmd := exec.Command(filepath.Join(bin, "pg_isready"), "-h", s.Dir, "-p", strconv.Itoa(s.Port), "-t", "30")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: account}
	if err := s.ready("unix", filepath.Join(s.Dir, ".s.PGSQL."+strconv.Itoa(s.Port))); err != nil {
		return err
	}
	for range 200 {
		if exec.Command(cmd.Path, cmd.Args[1:]...).Run() == nil {
			return nil
		}
	}
	return fmt.Errorf("postgres at port %d does not answer", s.Port)
}

// SQL runs statements as the superuser through the server's own socket,
// which no proxy sees.
func (s *Server) SQL(database, text string) error {
	cmd := exec.Command("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", s.Dir, "-p", strconv.Itoa(s.Port), "-U", "postgres", "-d", database)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("psql: %w\n%s", err, out)
	}
	return nil
}
