package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// suite is one driver's tests.
type suite struct {
	module   string
	packages []string
}

// copyModule puts a writable copy of a module from the cache into the bench.
func (b *bench) copyModule(module string) error {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return fmt.Errorf("find %s: %w", module, err)
	}
	from := strings.TrimSpace(string(out))
	if from == "" {
		return fmt.Errorf("%s is not in the module cache (hint: go mod download)", module)
	}
	to := filepath.Join(b.dir, "modules", filepath.Base(filepath.Dir(module))+"-"+filepath.Base(module))
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	b.modules[module] = to
	if err := chmodAll(to); err != nil {
		return err
	}
	for _, i := range impatient {
		if i.module == module {
			if err := i.calm(to); err != nil {
				return err
			}
		}
	}
	return nil
}

// impatience is a wait of a driver's own tests that is too short for a busy machine, and
// whose end takes the other tests along.
type impatience struct{ module, file, short, long string }

// impatient are changed in both runs alike.
var impatient = []impatience{
	{"github.com/lib/pq", "notify_test.go", "case <-time.After(100 * time.Millisecond):\n\t\tpanic(", "case <-time.After(10 * time.Second):\n\t\tpanic("},
}

func (i impatience) calm(dir string) error {
	path := filepath.Join(dir, i.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), i.short) {
		return fmt.Errorf("%s has no %q any more: see impatient", path, i.short)
	}
	err = os.Remove(path) // it is read-only, as in the cache
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(strings.ReplaceAll(string(text), i.short, i.long)), 0o644)
}

// chmodAll makes files and folders readable by all and writable by us: the cache is read-only.
func chmodAll(root string) error {
	return filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return os.Chmod(path, 0o755)
	})
}

// suites runs every suite both ways and compares.
func (b *bench) suites(chosen *regexp.Regexp) error {
	excuses, err := readExcuses("testdata/compat/differences.txt")
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range modulePaths {
		for _, pkg := range s.packages {
			if !chosen.MatchString(importPath(s, pkg)) {
				excuses.leave(importPath(s, pkg))
				continue
			}
			if err := b.suite(s, pkg, excuses); err != nil {
				errs = append(errs, fmt.Errorf("%s %s: %w", s.module, pkg, err))
			}
		}
	}
	return errors.Join(append(errs, excuses.unused())...)
}

func importPath(s suite, pkg string) string {
	return strings.TrimSuffix(s.module+"/"+strings.TrimPrefix(pkg, "./"), "/.")
}

// suite builds one package's tests once and runs them both ways.
func (b *bench) suite(s suite, pkg string, excuses *excuses) error {
	home := filepath.Join(b.modules[s.module], pkg)
	binary := filepath.Join(home, "suite.test")
	build := exec.Command("go", "test", "-c", "-mod=mod", "-o", binary, pkg)
	build.Dir = b.modules[s.module]
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	straight, watched := b.verdicts(home, binary, false), b.verdicts(home, binary, true)
	name := importPath(s, pkg)
	lost := watched.missing(straight)
	for tries := 0; tries < mostTries; tries++ { // a test that fails now and then fails either way, and one that panics takes others along
		still := b.again(home, binary, lost)
		if len(still) == len(lost) {
			break
		}
		lost = still
	}
	say("%-40s passing straight %d, watched %d, differing %d", name, straight.passed(), watched.passed(), len(lost))
	if straight.passed() == 0 {
		return fmt.Errorf("nothing passes even straight:\n%s", tail(straight.output))
	}
	return excuses.judge(name, lost, watched)
}

// mostTries bounds how often lost tests are run again while some of them come back.
const mostTries = 5

// again runs lost tests once more with a chaperone and returns those lost again.
func (b *bench) again(home, binary string, lost []string) []string {
	if len(lost) == 0 {
		return nil
	}
	var tops []string
	for _, name := range lost {
		top, _, _ := strings.Cut(name, "/")
		tops = append(tops, regexp.QuoteMeta(top))
	}
	second := b.verdicts(home, binary, true, "-test.run", "^("+strings.Join(tops, "|")+")$")
	var still []string
	for _, name := range lost {
		if second.of[name] != "PASS" {
			still = append(still, name)
		}
	}
	return still
}

// verdicts runs a test binary and reads what each test came to.
func (b *bench) verdicts(home, binary string, watched bool, args ...string) verdicts {
	cmd := b.command(watched, binary, append([]string{"-test.v=test2json", "-test.timeout=3m", "-test.count=1"}, args...)...)
	cmd.Dir = home
	cmd.Env = append(cmd.Env, b.suiteEnv()...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // failing tests are part of the comparison
	if kept := os.Getenv("COMPAT_KEEP"); kept != "" {
		name := fmt.Sprintf("%s-%t-%d.log", filepath.Base(home), watched, len(args)) // the second run has arguments
		_ = os.WriteFile(filepath.Join(kept, name), out.Bytes(), 0o600)              // for whoever looks for the reason
	}
	return readVerdicts(out.String())
}

// suiteEnv is what the suites' own documentation asks for.
func (b *bench) suiteEnv() []string {
	at := fmt.Sprintf("host=127.0.0.1 port=%d dbname=pgx_test", b.postgres.Port)
	return append(b.connection("pqgo", "pqgo"),
		"PGX_TEST_DATABASE="+at+" user=postgres",
		"PGX_TEST_TCP_CONN_STRING="+at+" user=postgres",
		"PGX_TEST_MD5_PASSWORD_CONN_STRING="+at+" user=pgx_md5 password=secret",
		"PGX_TEST_PLAIN_PASSWORD_CONN_STRING="+at+" user=pgx_pw password=secret",
		"PGX_TEST_SCRAM_PASSWORD_CONN_STRING="+at+" user=pgx_scram password=secret channel_binding=disable",
		"PGX_TEST_SCRAM_PLUS_CONN_STRING="+at+" user=pgx_scram password=secret sslmode=require channel_binding=require",
		"PGX_TEST_TLS_CONN_STRING="+at+" user=postgres sslmode=require",
	)
}

func tail(text string) string { return text[max(0, len(text)-2000):] }
