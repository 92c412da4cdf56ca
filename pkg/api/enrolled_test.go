package api

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParseCgroup(t *testing.T) {
	for text, want := range map[string]string{
		"0::/a/b\n":                       "/a/b",
		"9:name=systemd:/x\n0::/\n":       "/",
		"0::/a:b\n":                       "/a:b",
		"1:cpu:/x\n":                      "error",
		"":                                "error",
		"0::/../x\n":                      "error",
		"0::/a (deleted)\n":               "error",
		"0::relative\n":                   "error",
		"5:misc:/y\n0::/first\n0::/two\n": "/first",
	} {
		got, err := parseCgroup([]byte(text))
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestParseStatIsNotFooledByNames(t *testing.T) {
	line := "77 (a) R 1 (b) S 42 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 9876 0\n"
	got, err := parseStat([]byte(line))
	if err != nil || got.parent != 42 || got.start != 9876 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "1 (x", "1 (x) S 1", "1 (x) S -1" + strings.Repeat(" 0", 30), "1 (x) S a" + strings.Repeat(" 0", 30)} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestFamilyReachesTheFirstProcess(t *testing.T) {
	var seen []string
	if err := freeFamily(os.Getpid(), func(c string) bool { seen = append(seen, c); return false }); err != nil {
		t.Fatal(err)
	}
	if len(seen) < 2 {
		t.Errorf("only %v was looked at", seen)
	}
	if err := freeFamily(1<<30, func(string) bool { return false }); err == nil {
		t.Error("a process that is not there is free")
	}
}

func TestAThreadIsOverOnceItExits(t *testing.T) {
	cmd := exec.Command("/bin/true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dir := "/proc/" + strconv.Itoa(cmd.Process.Pid)
	for deadline := time.Now().Add(5 * time.Second); !over(dir); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a zombie is not over")
		}
	}
	if _, err := cgroupsOf(cmd.Process.Pid); err == nil {
		t.Error("a zombie is in a cgroup")
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !over(dir) || over("/proc/self") {
		t.Error("what is gone is not over, or we are")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("0::/a\n"))
	f.Add([]byte("1 (x) S 1 2 3"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if path, err := parseCgroup(text); err == nil && !strings.HasPrefix(path, "/") {
			t.Errorf("path %q", path)
		}
		_, _ = parseStat(text)
	})
}
