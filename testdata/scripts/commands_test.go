package scripts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/chaperone-dev/chaperone/testdata/servers"
)

// patience is how long a story waits for something to become true.
const patience = 20 * time.Second

type storyKey struct{}

// story is one running script's own things.
type story struct {
	house  *house
	name   string
	cgroup *servers.Cgroup
	daemon *exec.Cmd
	gone   chan struct{}
}

func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"fill":   fill,
		"sql":    sql,
		"daemon": daemon,
		"signal": signal,
		"until":  until,
		"ask":    ask,
		"keep":   keep,
		"block":  block,
	}
}

func of(ts *testscript.TestScript) *story { return ts.Value(storyKey{}).(*story) }

// fill replaces variables in files, so that a policy can name the server's port.
func fill(ts *testscript.TestScript, _ bool, names []string) {
	for _, name := range names {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// sql asks the server through its own socket.
func sql(ts *testscript.TestScript, neg bool, statement []string) {
	server := of(ts).house.postgres
	cmd := exec.Command("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", server.Dir, "-p", ts.Getenv("PGPORT"), "-U", "postgres", "-d", of(ts).name, "-c", strings.Join(statement, " "))
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	if err := cmd.Run(); (err != nil) != neg {
		ts.Fatalf("sql: %v", err)
	}
}

// environ is the story's environment, for programs that are started here.
func environ(ts *testscript.TestScript) []string {
	env := os.Environ()
	for _, name := range []string{"PATH", "HOME", "WORK", "CGROUP_DIR", "DSN", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE",
		"CHAPERONE_CONFIG", "CHAPERONE_STATE_DIR", "CHAPERONE_CONTROL_SOCKET", "CHAPERONE_PIN_DIR", "CHAPERONE_LISTEN_PORT"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

// daemon starts the story's daemon; its log is daemon.log.
func daemon(ts *testscript.TestScript, _ bool, flags []string) {
	s := of(ts)
	log, err := os.OpenFile(ts.MkAbs("daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer log.Close()
	s.daemon = exec.Command(s.house.binary, append([]string{"daemon"}, flags...)...)
	s.daemon.Dir, s.daemon.Env, s.daemon.Stdout, s.daemon.Stderr = ts.MkAbs("."), environ(ts), log, log
	s.daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ts.Check(s.daemon.Start())
	s.gone = make(chan struct{})
	go func() {
		_ = s.daemon.Wait() // its log tells
		close(s.gone)
	}()
	retry(ts, s.house.binary, "status")
}

// signal sends the daemon a signal.
func signal(ts *testscript.TestScript, _ bool, args []string) {
	s := of(ts)
	known := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}
	if len(args) != 1 || known[args[0]] == 0 || s.daemon == nil {
		ts.Fatalf("signal: want HUP, TERM or KILL, and a running daemon")
	}
	ts.Check(s.daemon.Process.Signal(known[args[0]]))
	if args[0] == "HUP" {
		return
	}
	if err := s.wait(); err != nil {
		ts.Fatalf("%v", err)
	}
}

func (s *story) wait() error {
	select {
	case <-s.gone:
		return nil
	case <-time.After(patience):
		return errors.New("the daemon does not end")
	}
}

// until repeats a command until it succeeds.
func until(ts *testscript.TestScript, _ bool, command []string) {
	if len(command) == 0 {
		ts.Fatalf("until: which command?")
	}
	out := retry(ts, command...)
	fmt.Fprint(ts.Stdout(), out)
}

// retry runs a command until it succeeds and returns what it printed.
func retry(ts *testscript.TestScript, command ...string) string {
	var last []byte
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		cmd := exec.Command("/usr/bin/env", command...)
		cmd.Dir, cmd.Env = ts.MkAbs("."), environ(ts)
		out, err := cmd.CombinedOutput()
		if err == nil {
			return string(out)
		}
		last = out
	}
	log, _ := os.ReadFile(ts.MkAbs("daemon.log")) // there may be none
	ts.Fatalf("%s does not succeed: %s\n%s", strings.Join(command, " "), last, log)
	return ""
}

// ask waits for a pending ask and names it.
func ask(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("ask: into which variable?")
	}
	out := retry(ts, "sh", "-c", `chaperone asks list | awk 'NR > 1 { print $1; found = 1 } END { exit !found }'`)
	ts.Setenv(args[0], strings.Fields(out)[0])
}

// keep puts what the last command printed, less the blanks around it, into a variable.
func keep(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("keep: in which variable?")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

// block writes the first fenced block of a language in a page to a file.
func block(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("block: want PAGE LANGUAGE FILE")
	}
	_, rest, found := strings.Cut(ts.ReadFile(args[0]), "\n```"+args[1]+"\n")
	text, _, closed := strings.Cut(rest, "\n```")
	if !found || !closed {
		ts.Fatalf("%s has no block of %s", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(text+"\n"), 0o600))
}

// end stops what the story started and takes its pins out of the kernel.
func (s *story) end(env *testscript.Env) error {
	var errs []error
	if s.daemon != nil {
		_ = s.daemon.Process.Signal(syscall.SIGTERM) // gone already is fine
		errs = append(errs, s.wait())
	}
	cleanup := exec.Command(s.house.binary, "cleanup")
	cleanup.Env = append(os.Environ(), env.Vars...)
	if out, err := cleanup.CombinedOutput(); err != nil {
		errs = append(errs, fmt.Errorf("cleanup: %w: %s", err, out))
	}
	if _, err := os.Stat(env.Getenv("CHAPERONE_PIN_DIR")); err == nil {
		errs = append(errs, errors.New("pins are still there after cleanup"))
	}
	errs = append(errs, s.cgroup.Remove())
	errs = append(errs, s.house.postgres.SQL("postgres", fmt.Sprintf("drop database %q with (force)", s.name)))
	return errors.Join(errs...)
}
