package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// programs are real clients. Each prints what it saw; the two runs must print the same.
var programs = [][]string{
	{"psql.sh"},
	{"pgbench.sh"},
	{"dump.sh"},
	{"psycopg.py"},
	{"node.js"},
	{"Jdbc.java"},
}

// interpreters start a program by its extension.
var interpreters = map[string][]string{
	".sh":   {"bash"},
	".py":   {"/usr/bin/python3"},
	".js":   {"node"},
	".java": {"java", "-cp", "/usr/share/java/postgresql.jar"},
}

// clients runs every program both ways, each time in a fresh database.
func (b *bench) clients() error {
	if err := b.installNodePostgres(); err != nil {
		return err
	}
	var errs []error
	for _, p := range programs {
		straight, err := b.program(p[0], false)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s, straight: %w", p[0], err))
			continue
		}
		watched, err := b.program(p[0], true)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s, watched: %w", p[0], err))
			continue
		}
		say("%-40s %d lines, the same: %t", p[0], strings.Count(straight, "\n"), straight == watched)
		if straight != watched {
			errs = append(errs, fmt.Errorf("%s prints another thing with a chaperone:\n%s", p[0], difference(straight, watched)))
		}
	}
	return errors.Join(errs...)
}

// program runs one client program in a fresh database and returns what it printed.
func (b *bench) program(name string, watched bool) (string, error) {
	if err := b.postgres.SQL("postgres", "drop database if exists compat with (force);\ndrop database if exists compat_copy with (force);\ncreate database compat"); err != nil {
		return "", err
	}
	path, err := filepath.Abs(filepath.Join("testdata/compat/clients", name))
	if err != nil {
		return "", err
	}
	with := interpreters[filepath.Ext(name)]
	cmd := b.command(watched, with[0], append(with[1:], path)...)
	cmd.Dir = b.dir
	cmd.Env = append(append(cmd.Env, b.connection("postgres", "compat")...), "NODE_PATH="+filepath.Join(b.dir, "node_modules"), "PYTHONDONTWRITEBYTECODE=1")
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w\n%s%s", err, tail(out.String()), tail(complaints.String()))
	}
	if out.Len() == 0 {
		return "", errors.New("it printed nothing, which proves nothing")
	}
	return out.String(), nil
}

// installNodePostgres fetches the driver into the bench.
func (b *bench) installNodePostgres() error {
	cmd := exec.Command("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", b.dir, "pg@8")
	cmd.Env = append(os.Environ(), "HOME="+b.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm install pg: %w\n%s", err, out)
	}
	return nil
}

// difference shows the first lines that differ.
func difference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d\n  straight: %s\n  watched:  %s", i+1, x[i], y[i])
		}
	}
	return fmt.Sprintf("%d lines straight, %d watched", len(x), len(y))
}
