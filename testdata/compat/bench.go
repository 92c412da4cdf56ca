package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/chaperone-dev/chaperone/testdata/servers"
)

// bench is the PostgreSQL that everything runs against, and how to run a
// command straight or with a chaperone.
type bench struct {
	dir      string
	binary   string // empty: no chaperone
	modules  map[string]string
	top      *servers.Cgroup
	postgres *servers.Server
	env      []string // of commands that run with a chaperone
}

// hba offers the drivers every way to log in that their suites know.
const hba = `local all all trust
host all pqgomd5 all md5
host all pgx_md5 all md5
host all pqgopassword all password
host all pgx_pw all password
host all pqgoscram all scram-sha-256
host all pgx_scram all scram-sha-256
hostnossl all pqgossl all reject
hostnossl all pqgosslcert all reject
hostssl all pqgossl all trust
hostssl all pqgosslcert all cert
host all all all trust
`

// roles are what the suites' own set-up scripts make.
const roles = `
create role pqgo login superuser;
create database pqgo owner pqgo;
create database pgx_test;
create role pqgossl login;
create role pqgosslcert login;
create role pqgopassword login password 'wordpass';
create role pqgoscram login password 'wordpass';
create role pqgomd5 login;
update pg_authid set rolpassword = 'md5' || md5('wordpasspqgomd5') where rolname = 'pqgomd5';
create role pgx_pw login superuser password 'secret';
create role pgx_scram login superuser password 'secret';
create role pgx_md5 login superuser;
update pg_authid set rolpassword = 'md5' || md5('secretpgx_md5') where rolname = 'pgx_md5';
create role " tricky, ' } "" \\ test user " superuser password 'secret';
\connect pgx_test
create extension hstore;
create extension ltree;
create domain uint64 as numeric(20,0);
\connect pqgo
create extension hstore;
`

// policy allows everything to the one identity.
const policy = `identities:
  - {name: compat, owner: compat@example.com, purpose: proving that nothing changes, default: allow}
targets:
  - name: server
    protocol: postgres
    addresses: ["127.0.0.1:%[1]d", "[::1]:%[1]d"]
grants:
  - {identity: compat, target: server, ttl: 24h, approval: none}
rules: # what is refused where no rule names it
  - {name: all-of-it, target: server, when: 'request.kind in ["query", "function-call", "replication"]', verdict: allow}
`

// modulePaths are the drivers whose suites run, with the packages that need a server.
var modulePaths = []suite{
	{"github.com/jackc/pgx/v5", []string{".", "./pgconn", "./pgxpool", "./pgtype", "./stdlib"}},
	{"github.com/lib/pq", []string{"."}},
}

// openBench copies the drivers out of the module cache and starts PostgreSQL. The
// bench is to be closed even after an error.
func openBench(dir, binary string) (*bench, error) {
	b := &bench{dir: dir, binary: binary, modules: map[string]string{}}
	for _, s := range modulePaths {
		if err := b.copyModule(s.module); err != nil {
			return b, err
		}
	}
	var err error
	if b.top, err = servers.NewCgroup(fmt.Sprintf("chaperone-compat-%d", os.Getpid())); err != nil {
		return b, err
	}
	certs, err := b.certificates()
	if err != nil {
		return b, err
	}
	settings := []string{"fsync=off", "max_connections=200", "max_prepared_transactions=10", "ssl=on",
		"ssl_ca_file=" + certs + "/root.crt", "ssl_cert_file=" + certs + "/server.crt", "ssl_key_file=" + certs + "/server.key"}
	if b.postgres, err = servers.StartPostgres(b.top, dir, hba, settings...); err != nil {
		return b, err
	}
	if err := b.postgres.SQL("postgres", roles); err != nil {
		return b, err
	}
	return b, b.settle()
}

// certificates copies the server's key pair from the drivers' fixtures to where
// PostgreSQL takes it.
func (b *bench) certificates() (string, error) {
	account, err := servers.Account()
	if err != nil {
		return "", err
	}
	to := filepath.Join(b.dir, "certs")
	if err := os.Mkdir(to, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"root.crt", "server.crt", "server.key"} {
		text, err := os.ReadFile(filepath.Join(b.modules["github.com/lib/pq"], "testdata/ssl", name))
		if err != nil {
			return "", err
		}
		path := filepath.Join(to, name)
		if err := errors.Join(os.WriteFile(path, text, 0o600), os.Chown(path, int(account.Uid), int(account.Gid))); err != nil {
			return "", err
		}
	}
	return to, nil
}

// settle writes the policy and the settings of `chaperone run`.
func (b *bench) settle() error {
	config := filepath.Join(b.dir, "chaperone.yaml")
	if err := errors.Join(
		os.WriteFile(config, nil, 0o600),
		os.WriteFile(b.policyFile(), fmt.Appendf(nil, policy, b.postgres.Port), 0o600),
	); err != nil {
		return err
	}
	b.env = []string{
		"CHAPERONE_CONFIG=" + config,
		"CHAPERONE_STATE_DIR=" + filepath.Join(b.dir, "state"),
		"CHAPERONE_CONTROL_SOCKET=" + filepath.Join(b.dir, "control.sock"),
		fmt.Sprintf("CHAPERONE_PIN_DIR=/sys/fs/bpf/chaperone-compat-%d", os.Getpid()),
		"CHAPERONE_LISTEN_PORT=0",
	}
	return nil
}

func (b *bench) policyFile() string { return filepath.Join(b.dir, "policy.yaml") }

// command prepares a command that runs straight, or with a chaperone.
func (b *bench) command(watched bool, name string, args ...string) *exec.Cmd {
	if !watched || b.binary == "" {
		cmd := exec.Command(name, args...)
		cmd.Env = os.Environ()
		return cmd
	}
	all := append([]string{"run", "--identity", "compat", "--policy", b.policyFile(), "--user", "root", "--", name}, args...)
	cmd := exec.Command(b.binary, all...)
	cmd.Env = append(os.Environ(), b.env...)
	return cmd
}

// connection is the environment that libpq and its likes read.
func (b *bench) connection(user, database string) []string {
	return []string{"PGHOST=127.0.0.1", "PGPORT=" + strconv.Itoa(b.postgres.Port), "PGUSER=" + user, "PGDATABASE=" + database}
}

// close ends the server and takes Chaperone's programs out of the kernel.
func (b *bench) close() error {
	var errs []error
	if b.binary != "" && b.env != nil {
		cmd := exec.Command(b.binary, "cleanup")
		cmd.Env = append(os.Environ(), b.env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("cleanup: %w: %s", err, out))
		}
	}
	if b.postgres != nil {
		errs = append(errs, b.postgres.Stop(servers.Quit))
	}
	if b.top != nil {
		errs = append(errs, b.top.Remove())
	}
	return errors.Join(errs...)
}
