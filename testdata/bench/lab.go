package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/chaperone-dev/chaperone/testdata/servers"
)

// A route is one way from the client to PostgreSQL.
type route struct {
	name   string
	port   int
	client *servers.Cgroup // where the load runs; for Chaperone the enrolled one
	proxy  *servers.Cgroup // nil: none
}

// others are the routes that are there all the time; Chaperone's comes and goes.
var others = []string{"direct", "haproxy", "pgbouncer"}

// lab is everything that runs while measuring.
type lab struct {
	top       *servers.Cgroup
	postgres  *servers.Server
	pgbouncer *servers.Server
	haproxy   *servers.Server
	chaperone *servers.Chaperone // nil until enroll
	clients   []*servers.Cgroup
	routes    []route
	dir       string
	binary    string
}

// tables is what the bulk cases read: the same rows with and without a masked column.
const tables = `
create table bulk (id int, city text, email text);
insert into bulk select i, 'city ' || i % 1000, 'user' || i || '@example.com' from generate_series(1, 100000) i;
create table bulk_pii as select * from bulk;
create table secrets (id int, pin text);
vacuum analyze;
checkpoint;
`

// openLab starts everything but Chaperone, which joins later, so that its
// programs' price for others can be measured. The lab is to be closed even after an error.
func openLab(dir, binary string) (*lab, error) {
	l := &lab{dir: dir, binary: binary}
	var err error
	if l.top, err = servers.NewCgroup(fmt.Sprintf("chaperone-bench-%d", os.Getpid())); err != nil {
		return l, err
	}
	// Without fsync a write costs the proxies' share, not the disk's mood.
	l.postgres, err = servers.StartPostgres(l.top, dir, "", "max_connections=1200", "shared_buffers=512MB", "fsync=off", "max_wal_size=4GB", "autovacuum=off")
	if err != nil {
		return l, err
	}
	if err := l.fill(); err != nil {
		return l, err
	}
	if l.pgbouncer, err = servers.StartPgbouncer(l.top, dir, l.postgres.Port); err != nil {
		return l, err
	}
	if l.haproxy, err = servers.StartHaproxy(l.top, dir, l.postgres.Port); err != nil {
		return l, err
	}
	for _, r := range []route{
		{name: others[0], port: l.postgres.Port},
		{name: others[1], port: l.haproxy.Port, proxy: l.haproxy.Cgroup},
		{name: others[2], port: l.pgbouncer.Port, proxy: l.pgbouncer.Cgroup},
	} {
		if err := l.add(r); err != nil {
			return l, err
		}
	}
	return l, nil
}

// fill loads the tables.
func (l *lab) fill() error {
	if err := l.postgres.SQL("postgres", "create database bench"); err != nil {
		return err
	}
	cmd := exec.Command("pgbench", "-i", "-q", "-s", "10", "-h", l.postgres.Dir, "-p", fmt.Sprint(l.postgres.Port), "-U", "postgres", "bench")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pgbench -i: %w\n%s", err, out)
	}
	return l.postgres.SQL("bench", tables)
}

// add gives a route its client cgroup and puts it in the rounds.
func (l *lab) add(r route) error {
	group, err := l.top.Child("client-" + r.name)
	if err != nil {
		return err
	}
	l.clients = append(l.clients, group)
	r.client = group
	l.routes = append(l.routes, r)
	return nil
}

// policy has what a real one has: rules that look at every statement, masks on
// other tables than the ones that are read, full recording.
const policy = `identities:
  - {name: bench, owner: bench@example.com, purpose: measuring, default: deny}
targets:
  - name: bench
    protocol: postgres
    addresses: ["127.0.0.1:%d"]
    record: full
grants:
  - {identity: bench, target: bench, ttl: 24h, approval: none}
rules:
  - name: no-drop
    target: bench
    when: request.effects.exists(e, e.action in ["drop", "truncate"] || (e.action in ["update", "delete"] && !e.bounded))
    verdict: deny
  - {name: no-shell, target: bench, when: 'request.effects.exists(e, e.action == "execute-host")', verdict: deny}
masks:
  - {name: pins, target: bench, columns: [public.secrets.pin], with: redact}
  - {name: mail, target: bench, columns: [public.bulk_pii.email], with: partial}
`

// enroll starts Chaperone and adds its route: the client talks to PostgreSQL's own address
// from an enrolled cgroup.
func (l *lab) enroll() error {
	var err error
	if l.chaperone, err = servers.StartChaperone(l.top, l.dir, l.binary, fmt.Sprintf(policy, l.postgres.Port)); err != nil {
		return err
	}
	if err := l.add(route{name: "chaperone", port: l.postgres.Port, proxy: l.chaperone.Cgroup}); err != nil {
		return err
	}
	return l.chaperone.Enroll("bench", l.clients[len(l.clients)-1])
}

// withdraw stops Chaperone and takes its programs out of the kernel.
func (l *lab) withdraw() error {
	if l.chaperone == nil {
		return nil
	}
	gone, last := l.chaperone, len(l.clients)-1
	l.chaperone = nil
	err := gone.Close()
	if len(l.routes) > len(others) {
		client := l.clients[last]
		l.routes, l.clients = l.routes[:len(others)], l.clients[:last]
		err = errors.Join(err, client.Remove())
	}
	return errors.Join(err, os.RemoveAll(filepath.Join(l.dir, "chaperone")))
}

// Close ends every process and removes every cgroup.
func (l *lab) Close() error {
	errs := []error{l.withdraw()}
	for _, s := range []*servers.Server{l.haproxy, l.pgbouncer, l.postgres} {
		if s != nil {
			errs = append(errs, s.Stop(servers.Quit))
		}
	}
	for _, c := range l.clients {
		errs = append(errs, c.Remove())
	}
	if l.top != nil {
		errs = append(errs, l.top.Remove())
	}
	return errors.Join(errs...)
}

// command prepares a client command inside a route's cgroup.
func (r route) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: r.client.FD(), Pdeathsig: syscall.SIGKILL}
	return cmd
}
