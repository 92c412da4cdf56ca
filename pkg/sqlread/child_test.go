package sqlread

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chaperone-dev/chaperone/pkg/leaks"
)

// child verbs of the test binary.
const (
	verbServe  = "sqlread-serve"
	verbEscape = "sqlread-escape"
	verbBroken = "sqlread-broken"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case verbServe:
			if err := Serve(os.Stdin, os.Stdout); err != nil {
				os.Exit(1)
			}
			os.Exit(0)
		case verbEscape:
			breakOut(os.Args[2])
		case verbBroken:
			os.Exit(3)
		}
	}
	os.Exit(leaks.Run(m))
}

func pool(t testing.TB, limits Limits) *Pool {
	t.Helper()
	p := Start([]string{"/proc/self/exe", verbServe}, limits)
	t.Cleanup(func() { p.Close() })
	return p
}

func read(t testing.TB, p Reader, text string) *Reading {
	t.Helper()
	r, err := p.Read(context.Background(), text)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return r
}

func TestAChildReadsAsThisProcessDoes(t *testing.T) {
	p := pool(t, Limits{})
	for _, text := range []string{
		"SELECT id FROM public.users WHERE id = $1", "", "DELETE FROM orders", "not sql at all",
		"COPY t (a, b) FROM STDIN (FORMAT csv, DELIMITER '|')", "ALTER ROLE a PASSWORD 'x'",
	} {
		got, want := read(t, p, text), Read(text)
		if fmt.Sprintf("%+v", got.Effects()) != fmt.Sprintf("%+v", want.Effects()) || got.Redacted != want.Redacted ||
			got.Fingerprint != want.Fingerprint || got.Shape != want.Shape || got.Unread != want.Unread || got.Changes != want.Changes {
			t.Errorf("%q: child %+v, here %+v", text, got, want)
		}
		if read(t, p, text) != got {
			t.Errorf("%q: read twice", text)
		}
	}
}

// evil are texts that break parsers.
func evil() map[string]string {
	return map[string]string{
		"sum of 30,000":          "SELECT 1" + strings.Repeat("+1", 30_000),
		"sum of 7,900 tokens":    "SELECT 1" + strings.Repeat("+1", 3_940),
		"30,000 casts":           "SELECT 1" + strings.Repeat("::int", 30_000),
		"2,600 casts":            "SELECT 1" + strings.Repeat("::int", 2_600),
		"30,000 cross joins":     "SELECT * FROM t" + strings.Repeat(" CROSS JOIN t", 30_000),
		"2,600 cross joins":      "SELECT * FROM t" + strings.Repeat(" CROSS JOIN t", 2_600),
		"100,000 unions":         "SELECT 1" + strings.Repeat(" UNION SELECT 1", 100_000),
		"2,600 unions":           "SELECT 1" + strings.Repeat(" UNION SELECT 1", 2_600),
		"deep parentheses":       "SELECT " + strings.Repeat("(", 100_000) + "1" + strings.Repeat(")", 100_000),
		"3,900 parentheses":      "SELECT " + strings.Repeat("(", 3_900) + "1" + strings.Repeat(")", 3_900),
		"3,900 nots":             "SELECT " + strings.Repeat("NOT ", 7_900) + "true",
		"nested sub-queries":     strings.Repeat("SELECT (", 2_600) + "SELECT 1" + strings.Repeat(")", 2_600),
		"nested arrays":          "SELECT " + strings.Repeat("ARRAY[", 2_600) + "1" + strings.Repeat("]", 2_600),
		"a NUL byte":             "SELECT 1; \x00DROP TABLE t",
		"invalid UTF-8":          "SELECT '\xff\xfe'",
		"an unterminated string": "SELECT 'abc",
		"an unterminated tag":    "SELECT $a$ abc",
		"an unterminated name":   `SELECT "abc`,
		"an open comment":        "SELECT 1 /* /* */",
		"500,000 open comments":  strings.Repeat("/*", 500_000),
		"many statements":        strings.Repeat("SELECT 1;", 100_000),
		"a million ands":         "SELECT 1 WHERE a=1" + strings.Repeat(" AND a=1", 1_000_000),
		"a bad unicode escape":   `SELECT U&'\D800'`,
		"deep PL/pgSQL":          "DO $$ BEGIN " + strings.Repeat("IF true THEN ", 2_000) + strings.Repeat("END IF; ", 2_000) + " END $$",
		"long PL/pgSQL":          "DO $$ BEGIN x := 1" + strings.Repeat("+1", 30_000) + "; END $$",
	}
}

func TestEvilTextsAreAnsweredAndTheNextOneIsRight(t *testing.T) {
	p := pool(t, Limits{Children: 1, Patience: 5 * time.Second})
	for name, text := range evil() {
		t.Run(name, func(t *testing.T) {
			r := read(t, p, text)
			if r.Unread == "" && strings.Contains(name, "000") && len(text) > maxText {
				t.Errorf("%d bytes were read: %d statements", len(text), len(r.Statements))
			}
			if r.Unread != "" && !r.Changes {
				t.Errorf("an unread text (%s) counts as harmless", r.Unread)
			}
			if next := read(t, p, "select 1 as "+fmt.Sprintf("a%d", len(text))); next.Unread != "" || next.Changes {
				t.Errorf("the next text reads as %+v", next)
			}
		})
	}
}

func TestABulkInsertOf10MBIsAnInsert(t *testing.T) {
	text := "INSERT INTO public.t (a, b) VALUES (1, 'it''s')" + strings.Repeat(", (-2.5, E'x\\'y')", 600_000) + " ON CONFLICT DO NOTHING"
	r := read(t, pool(t, Limits{Patience: 60 * time.Second}), text)
	if r.Unread != "" || len(r.Statements) != 1 || len(r.Effects()) != 1 || r.Effects()[0].Object != "public.t" || r.Effects()[0].Action != "insert" {
		t.Errorf("%d bytes read as %q %+v", len(text), r.Unread, r.Effects())
	}
}

func TestATextThatTakesTooLongEndsTheChildOnly(t *testing.T) {
	p := pool(t, Limits{Children: 1, Patience: time.Nanosecond})
	read(t, pool(t, Limits{}), "select 1") // another pool is not concerned
	r := read(t, p, "select 2")
	if r.Unread != "reading it took too long" || !r.Changes {
		t.Errorf("read as %+v", r)
	}
	p.limits.Patience = 10 * time.Second
	if again := read(t, p, "select 2"); again != r {
		t.Error("the text was tried again at once")
	}
	if next := read(t, p, "select 3"); next.Unread != "" {
		t.Errorf("the next text: %s", next.Unread)
	}
}

func TestAKilledChildIsReplaced(t *testing.T) {
	p := pool(t, Limits{Children: 1})
	read(t, p, "select 1")
	c := <-p.slots
	c.cmd.Process.Kill()
	for !c.gone() {
		time.Sleep(time.Millisecond)
	}
	p.slots <- c
	if r := read(t, p, "select 2"); r.Unread != "" {
		t.Errorf("after the kill: %s", r.Unread)
	}
}

func TestAReaderThatCannotStartIsAnError(t *testing.T) {
	for _, argv := range [][]string{{"/does/not/exist"}, {"/proc/self/exe", verbBroken}} {
		p := Start(argv, Limits{})
		if r, err := p.Read(context.Background(), "select 1"); err == nil {
			t.Errorf("%v: read as %+v", argv, r)
		}
		p.Close()
	}
}

func TestAClosedPoolRefuses(t *testing.T) {
	p := pool(t, Limits{})
	read(t, p, "select 1")
	p.Close()
	if _, err := p.Read(context.Background(), "select 2"); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestManyAskAtOnce(t *testing.T) {
	p := pool(t, Limits{Cache: 64 << 10, Patience: 30 * time.Second})
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			for j := range 30 {
				table := fmt.Sprintf("t%d", (i*j)%40)
				r, err := p.Read(context.Background(), "SELECT * FROM "+table)
				if err != nil || len(r.Effects()) != 1 || r.Effects()[0].Object != table {
					t.Errorf("%s: %+v, %v", table, r, err)
				}
			}
		})
	}
	group.Wait()
	if p.cache.size > p.cache.most {
		t.Errorf("the cache holds %d bytes of %d", p.cache.size, p.cache.most)
	}
}

func TestAHitAllocatesNothing(t *testing.T) {
	p := pool(t, Limits{})
	read(t, p, "SELECT 1")
	if n := testing.AllocsPerRun(100, func() { p.Read(context.Background(), "SELECT 1") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// breakOut confines this process, then tries to get out: exit code 7 says that it did.
func breakOut(how string) {
	if err := confine(); err != nil {
		os.Exit(1)
	}
	switch how {
	case "open":
		if _, err := os.Open("/etc/passwd"); errors.Is(err, syscall.EACCES) {
			os.Exit(0)
		}
	case "socket":
		unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	case "unix socket":
		unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	case "exec":
		unix.Exec("/bin/true", []string{"true"}, nil)
	case "fork":
		unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
	case "kill":
		unix.Kill(os.Getppid(), 0)
	case "signal another":
		unix.Tgkill(1, 1, 0)
	case "become root":
		syscall.Setuid(0)
	case "trace":
		unix.PtraceAttach(1)
	case "another thread":
		done := make(chan bool)
		for range 4 {
			go func() { unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); done <- true }()
		}
		<-done
	}
	os.Exit(7)
}

func TestTheChildCannotGetOut(t *testing.T) {
	for how, want := range map[string]string{
		"open": "exit status 0", "socket": "bad system call", "unix socket": "bad system call", "exec": "bad system call",
		"fork": "bad system call", "kill": "bad system call", "signal another": "bad system call",
		"become root": "bad system call", "trace": "bad system call", "another thread": "bad system call",
	} {
		t.Run(how, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", verbEscape, how)
			err := cmd.Run()
			if got := cmd.ProcessState.String(); !strings.Contains(got, want) {
				t.Errorf("%s (%v), want %s", got, err, want)
			}
		})
	}
}

func TestTheChildHasNoRights(t *testing.T) {
	p := pool(t, Limits{Children: 1})
	read(t, p, "select 1")
	c := <-p.slots
	defer func() { p.slots <- c }()
	path := fmt.Sprintf("/proc/%d/", c.cmd.Process.Pid)
	status, err := os.ReadFile(path + "status")
	if err != nil {
		t.Fatal(err)
	}
	wants := []string{"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"}
	if os.Geteuid() == 0 {
		wants = append(wants, "Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534", "Groups:\t \n")
		ours, _ := os.Readlink("/proc/self/ns/net")
		if its, err := os.Readlink(path + "ns/net"); err != nil || its == ours {
			t.Errorf("its network is %s (%v), ours is %s", its, err, ours)
		}
	}
	for _, want := range wants {
		if !strings.Contains(string(status), want) {
			t.Errorf("no %q in its status:\n%s", want, status)
		}
	}
	if env, _ := os.ReadFile(path + "environ"); len(env) != 0 {
		t.Errorf("an environment of %d bytes", len(env))
	}
}

func BenchmarkCached(b *testing.B) {
	p := pool(b, Limits{})
	text := "SELECT abalance FROM pgbench_accounts WHERE aid = $1"
	read(b, p, text)
	b.ReportAllocs()
	for b.Loop() {
		p.Read(context.Background(), text)
	}
}

func BenchmarkThroughTheChild(b *testing.B) {
	p := pool(b, Limits{Children: 1, Cache: 1})
	text := "SELECT abalance FROM pgbench_accounts WHERE aid = $1"
	read(b, p, text)
	for b.Loop() {
		read(b, p, text)
	}
}
