package postgres

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	left "github.com/chaperone-dev/chaperone/pkg/leaks"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
	"github.com/chaperone-dev/chaperone/rules"
)

// server is a PostgreSQL of its own, shared by the package's tests.
type server struct {
	dir  string
	port int
	cmd  *exec.Cmd
}

var postgres server

func TestMain(m *testing.M) {
	if err := postgres.start(); err != nil {
		fmt.Fprintln(os.Stderr, "start postgres:", err)
		postgres.stop()
		os.Exit(1)
	}
	code := left.Run(m)
	postgres.stop()
	os.Exit(code)
}

func (s *server) start() error {
	dir, err := os.MkdirTemp("", "chaperone-pg")
	if err != nil {
		return err
	}
	s.dir = dir
	bin, err := binaries()
	if err != nil {
		return err
	}
	who, err := user.Lookup("postgres")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(who.Uid)
	gid, _ := strconv.Atoi(who.Gid)
	if err := os.Chown(dir, uid, gid); err != nil {
		return err
	}
	as := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, Pdeathsig: syscall.SIGTERM}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", dir+"/data", "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C.UTF-8")
	initdb.SysProcAttr, initdb.Dir = as, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	hba := "host all scram 127.0.0.1/32 scram-sha-256\nhost all md5 127.0.0.1/32 md5\nhost all plain 127.0.0.1/32 password\n" +
		"host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\nlocal all all trust\n"
	if err := os.WriteFile(dir+"/data/pg_hba.conf", []byte(hba), 0o644); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	if err := certify(dir, uid, gid); err != nil {
		return err
	}
	s.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", dir+"/data", "-p", strconv.Itoa(s.port), "-k", dir,
		"-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", "wal_level=logical", "-c", "max_prepared_transactions=2",
		"-c", "ssl=on", "-c", "ssl_cert_file="+dir+"/cert.pem", "-c", "ssl_key_file="+dir+"/key.pem")
	s.cmd.SysProcAttr, s.cmd.Dir = as, dir
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for range 100 {
		if _, err := s.psql("select 1"); err == nil {
			return s.fill()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("postgres does not answer")
}

// binaries is the folder of the newest server that Debian's packages have put here.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("no server in /usr/lib/postgresql (hint: deploy/install-deps.sh): %w", err)
	}
	newest := func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) }
	return filepath.Dir(slices.MaxFunc(found, newest)), nil
}

func (s *server) fill() error {
	_, err := s.psql(`
set password_encryption='scram-sha-256'; create role scram login password 'geheim';
set password_encryption='md5'; create role md5 login password 'geheim';
create role plain login password 'geheim';
create table plain (id int primary key, word text);
insert into plain select i, 'word '||i from generate_series(1,1000) i;
grant all on all tables in schema public to public; grant all on schema public to public;`)
	return err
}

func (s *server) psql(sql string) (string, error) {
	out, err := exec.Command("psql", "-X", "-v", "ON_ERROR_STOP=1", "-Atq", "-h", s.dir, "-p", strconv.Itoa(s.port), "-U", "postgres", "-d", "postgres", "-c", sql).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return string(out), nil
}

func (s *server) stop() {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGINT)
		_ = s.cmd.Wait()
	}
	os.RemoveAll(s.dir)
}

// watched is a proxy before the server, with the real driver and fakes around it.
type watched struct {
	t       *testing.T
	port    int
	policy  *rules.Policy
	tapes   *tapes
	asker   *asker
	journal *journal
	mu      sync.Mutex
	server  *interceptor.Server
}

const policyText = `
identities:
  - {name: bot, owner: a@example.com, default: deny, match: [{unit: bot.service}]}
targets:
  - name: db
    protocol: postgres
    addresses: ["127.0.0.1:%d"]
    tls: {upstream: disable}
    record: %s
grants:
  - {identity: bot, target: db}
people:
  - {name: dba, members: [alice]}
rules:
  - name: no-truncate
    target: db
    when: 'request.effects.exists(e, e.action == "truncate")'
    verdict: deny
    message: ask the on-call DBA
  - name: drop-asks
    target: db
    when: 'request.effects.exists(e, e.action == "drop")'
    verdict: hold
    approvers: [dba]
    timeout: 1m
%s`

// policy is policyText filled in. A leading "-" takes its rules away.
func policy(record, more string) string {
	text := fmt.Sprintf(policyText, postgres.port, record, more)
	if rest, bare := strings.CutPrefix(more, "-"); bare {
		text, _, _ = strings.Cut(text, "people:")
		return text + rest
	}
	return text
}

// watch starts a proxy. more is added to the policy's rules (or, at its margin, to the policy).
func watch(t *testing.T, record, more string) *watched {
	t.Helper()
	w := &watched{t: t, tapes: &tapes{}, asker: &asker{answers: make(chan flow.AskState, 10)}, journal: &journal{}}
	w.load(policy(record, more), 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.port = l.Addr().(*net.TCPAddr).Port
	server := &interceptor.Server{
		Origins:     origins{netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", postgres.port))},
		Enrollments: everybody{}, Processes: everybody{}, Journal: w.journal, Meter: everybody{},
		Policy:   func() *rules.Policy { w.mu.Lock(); defer w.mu.Unlock(); return w.policy },
		Recorder: w.tapes,
		Asker:    w.asker,
		Protocols: []interceptor.Protocol{New(Options{Reader: sqlread.Local{}, Certificates: func(string) (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(postgres.dir+"/cert.pem", postgres.dir+"/key.pem")
			return &c, err
		}})},
		Dial: func(ctx context.Context, o flow.Origin) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", o.Destination.String())
		},
		Log: slog.New(slog.NewTextHandler(logTo(t), nil)),
	}
	w.server = server
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return w
}

func logTo(t *testing.T) io.Writer {
	if testing.Verbose() {
		return os.Stderr
	}
	return io.Discard
}

func (w *watched) load(text string, generation uint64) {
	w.t.Helper()
	p, err := rules.Parse([]rules.File{{Name: "policy.yaml", Data: []byte(text)}}, rules.Options{Generation: generation, Key: []byte("0123456789abcdef0123456789abcdef")})
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.policy = p
	w.mu.Unlock()
}

func (w *watched) url(user string) string {
	return fmt.Sprintf("postgres://%s:geheim@127.0.0.1:%d/postgres", user, w.port)
}

// run runs a client program against the proxy and gives all it printed.
func (w *watched) run(name string, args ...string) (string, error) { return w.feed("", name, args...) }

// feed is run with something on standard input.
func (w *watched) feed(stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
