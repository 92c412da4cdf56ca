// Package scripts runs the stories beside it: txtar scripts against the real
// binary, a real kernel and a real PostgreSQL. Run it with `make stories`.
//
// Besides testscript's own commands a story has:
//
//	fill FILE...            replace $VARIABLES in files of the story
//	sql STATEMENT           ask PostgreSQL itself, past Chaperone; stdout works on it
//	daemon [FLAG...]        start the story's daemon and wait until it answers
//	signal HUP|TERM|KILL    send the daemon a signal; TERM and KILL wait for its end
//	until COMMAND...        run a program again and again until it succeeds (20 s)
//	ask VARIABLE            wait for a pending ask and put its id into VARIABLE
//	keep VARIABLE           put the last command's output into VARIABLE
//	block PAGE LANGUAGE FILE  write a page's first block of a language to a file
//
// the programs in tools (inside: run in the story's cgroup; exits: with which code),
// and the variables PGHOST PGPORT PGUSER PGDATABASE (a database of its own), DSN,
// SERVER (address:port), CGROUP (an empty cgroup of the story's, below the cgroup v2 mount),
// CGROUP_DIR (its folder), README (the page) and CHAPERONE_*.
package scripts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/chaperone-dev/chaperone/testdata/servers"
)

func TestStories(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for eBPF")
	}
	binary, err := filepath.Abs("../../bin/chaperone")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("%v (hint: make build)", err)
	}
	tools, err := filepath.Abs("tools")
	if err != nil {
		t.Fatal(err)
	}
	programs := forEverybody(t, binary, tools)
	readme, err := filepath.Abs("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	h := &house{binary: filepath.Join(programs, "chaperone"), tools: programs, readme: readme, postgres: postgres(t)}
	testscript.Run(t, testscript.Params{
		Dir:                 ".",
		Setup:               h.setup,
		Cmds:                commands(),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// TestReadmeIsTold holds README's commands against the story that runs them.
func TestReadmeIsTold(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	story, err := os.ReadFile("readme.txtar")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "$ ") {
			continue
		}
		shown++
		if !strings.Contains(string(story), "\n# "+line) {
			t.Errorf("README shows a command that readme.txtar does not run: %s", line)
		}
	}
	if shown == 0 {
		t.Error("README shows no command")
	}
}

// TestInstallMakesTheGroupOfApprovers looks at what make install would do: here the
// group is made, in a package's build it is left to who installs the package.
func TestInstallMakesTheGroupOfApprovers(t *testing.T) {
	for dest, here := range map[string]bool{"": true, "/somewhere": false} {
		out, err := exec.Command("make", "-n", "-C", "../..", "install", "DESTDIR="+dest).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if strings.Contains(string(out), "groupadd --system chaperone") != here {
			t.Errorf("DESTDIR=%s: %s", dest, out)
		}
		if !strings.Contains(string(out), dest+"/usr/lib/sysusers.d/chaperone.conf") {
			t.Errorf("DESTDIR=%s: no sysusers.d: %s", dest, out)
		}
	}
}

// forEverybody copies the binary and the tools to where any user can run them:
// a checkout may stand in a folder that only root can enter.
func forEverybody(t *testing.T, binary, tools string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "chaperone-programs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	programs, err := filepath.Glob(filepath.Join(tools, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range append(programs, binary) {
		data, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(from)), data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// postgres starts the server that all stories share.
func postgres(t *testing.T) *servers.Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "chaperone-stories-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	top, err := servers.NewCgroup(fmt.Sprintf("chaperone-stories-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	server, err := servers.StartPostgres(top, dir, "", "fsync=off", "max_connections=200")
	t.Cleanup(func() {
		if server != nil {
			err = server.Stop(servers.Quit)
		}
		if err := errors.Join(err, top.Remove()); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// house is what stories share.
type house struct {
	binary   string
	tools    string // folder of the programs that stories run
	readme   string
	postgres *servers.Server
}

// setup gives a story its database, cgroup, state, socket and pins.
func (h *house) setup(env *testscript.Env) error {
	name := strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")
	if err := h.postgres.SQL("postgres", fmt.Sprintf("create database %q", name)); err != nil {
		return err
	}
	group, err := servers.NewCgroup(fmt.Sprintf("chaperone-story-%s-%d", name, os.Getpid()))
	if err != nil {
		return err
	}
	state := filepath.Join(env.WorkDir, ".chaperone")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	s := &story{house: h, name: name, cgroup: group}
	env.Values[storyKey{}] = s
	for _, set := range [][2]string{
		{"PATH", filepath.Dir(h.binary) + ":" + h.tools + ":" + env.Getenv("PATH")},
		{"PGHOST", "127.0.0.1"}, {"PGPORT", strconv.Itoa(h.postgres.Port)}, {"PGUSER", "postgres"}, {"PGDATABASE", name},
		{"DSN", fmt.Sprintf("postgresql://postgres@127.0.0.1:%d/%s", h.postgres.Port, name)},
		{"SERVER", h.postgres.Addr()},
		{"CGROUP", "/" + filepath.Base(group.Path)},
		{"CGROUP_DIR", group.Path},
		{"README", h.readme},
		{"CHAPERONE_CONFIG", filepath.Join(state, "chaperone.yaml")},
		{"CHAPERONE_STATE_DIR", filepath.Join(state, "state")},
		{"CHAPERONE_CONTROL_SOCKET", filepath.Join(state, "control.sock")},
		{"CHAPERONE_LISTEN_PORT", "0"},
		{"CHAPERONE_PIN_DIR", fmt.Sprintf("/sys/fs/bpf/chaperone-story-%s-%d", name, os.Getpid())},
	} {
		env.Setenv(set[0], set[1])
	}
	env.Defer(func() {
		if err := s.end(env); err != nil {
			env.T().Log("story left something behind: ", err)
			env.T().FailNow()
		}
	})
	return os.WriteFile(filepath.Join(state, "chaperone.yaml"), nil, 0o600)
}
