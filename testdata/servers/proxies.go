package servers

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// StartPgbouncer starts pgbouncer in session mode before the PostgreSQL at port.
func StartPgbouncer(parent *Cgroup, dir string, postgres int) (*Server, error) {
	const config = `[databases]
* = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = session
default_pool_size = 200
max_client_conn = 2000
log_connections = 0
log_disconnections = 0
`
	return startProxy(parent, dir, "pgbouncer", func(port int, home string) (string, []string) {
		users := filepath.Join(home, "users.txt")
		path := filepath.Join(home, "pgbouncer.ini")
		return fmt.Sprintf(config, postgres, port, users), []string{"/usr/sbin/pgbouncer", path}
	})
}

// StartHaproxy starts haproxy as a TCP relay before the PostgreSQL at port.
func StartHaproxy(parent *Cgroup, dir string, postgres int) (*Server, error) {
	const config = `defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  maxconn 2000
listen postgres
  bind 127.0.0.1:%d
  server real 127.0.0.1:%d
`
	return startProxy(parent, dir, "haproxy", func(port int, home string) (string, []string) {
		path := filepath.Join(home, "haproxy.ini")
		return fmt.Sprintf(config, port, postgres), []string{"/usr/sbin/haproxy", "-db", "-f", path}
	})
}

// startProxy gives a proxy a folder, a port and a configuration NAME.ini, and
// starts it.
func startProxy(parent *Cgroup, dir, name string, configure func(port int, home string) (text string, command []string)) (*Server, error) {
	account, err := Account()
	if err != nil {
		return nil, err
	}
	home, err := folder(dir, name, account)
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	text, command := configure(port, home)
	for file, content := range map[string]string{name + ".ini": text, "users.txt": "\"postgres\" \"\"\n"} {
		path := filepath.Join(home, file)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return nil, err
		}
		if err := os.Chown(path, int(account.Uid), int(account.Gid)); err != nil {
			return nil, err
		}
	}
	server, err := start(parent, home, name, account, command...)
	if err != nil {
		return nil, err
	}
	server.Port = port
	return server, server.ready("tcp", server.Addr())
}

// Quit is the signal that ends each kind of server at once: PostgreSQL's fast
// shutdown, and what the others know.
const Quit = syscall.SIGINT
