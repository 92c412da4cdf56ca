package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const goodPolicy = "identities:\n  - name: bot\n"

// lawIn is a law over a folder that holds one good policy.
func lawIn(t *testing.T) (*law, string, *[]error) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), goodPolicy)
	var told []error
	l := &law{path: dir, key: offlineKey, log: slog.New(slog.DiscardHandler), changed: func(_ uint64, err error) { told = append(told, err) }}
	if err := l.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l, dir, &told
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestABadEditKeepsTheOldPolicyAndIsToldOnce(t *testing.T) {
	l, dir, told := lawIn(t)
	old := l.policy()
	for name, spoil := range map[string]func(){
		"an unknown key":  func() { write(t, filepath.Join(dir, "a.yaml"), "identities:\n  - nome: bot\n") },
		"an emptied file": func() { write(t, filepath.Join(dir, "a.yaml"), "") },
		"a file cut off":  func() { write(t, filepath.Join(dir, "a.yaml"), "identities: []\n") },
		"a pipe beside it": func() {
			if err := syscall.Mkfifo(filepath.Join(dir, "b.yaml"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"anybody's file": func() { _ = os.Chmod(filepath.Join(dir, "a.yaml"), 0o666) },
		"nothing left":   func() { _ = os.Remove(filepath.Join(dir, "a.yaml")) },
	} {
		before := len(*told)
		spoil()
		l.look(t.Context())
		l.look(t.Context())
		if l.policy() != old {
			t.Errorf("%s: the old policy is gone", name)
		}
		if _, _, err := l.standing(); err == nil {
			t.Errorf("%s: nothing is wrong", name)
		}
		if len(*told)-before > 1 {
			t.Errorf("%s: told %d times", name, len(*told)-before)
		}
		_, _ = os.Remove(filepath.Join(dir, "a.yaml")), os.Remove(filepath.Join(dir, "b.yaml"))
		write(t, filepath.Join(dir, "a.yaml"), goodPolicy)
		l.look(t.Context())
		old = l.policy()
		if _, _, err := l.standing(); err != nil {
			t.Errorf("after %s was put right: %v", name, err)
		}
	}
}

func TestAnUnchangedPolicyIsNotLoadedAgain(t *testing.T) {
	l, dir, told := lawIn(t)
	l.look(t.Context())
	write(t, filepath.Join(dir, "a.test.yaml"), "tests: []\n")
	write(t, filepath.Join(dir, "notes.txt"), "not a policy")
	l.look(t.Context())
	if len(*told) != 1 {
		t.Errorf("told %d times", len(*told))
	}
	write(t, filepath.Join(dir, "b.yaml"), "identities:\n  - name: other\n")
	l.look(t.Context())
	if _, ok := l.policy().Identity("other"); !ok {
		t.Error("a new file is not seen")
	}
}

func TestComplaintsNameTheirPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	write(t, path, "identities:\n  - nome: bot\n")
	l := &law{path: path, key: offlineKey, log: slog.New(slog.DiscardHandler)}
	if err := l.reload(t.Context()); err == nil || !strings.Contains(err.Error(), path+":2:5:") {
		t.Errorf("%v", err)
	}
	if l.policy() != nil {
		t.Error("a policy is in force all the same")
	}
}

func TestTheMaskingKeyIsMadeOnceAndNeverReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mask.key")
	first, err := maskKey(path)
	if err != nil || len(first) != maskKeyBytes {
		t.Fatal(first, err)
	}
	if again, err := maskKey(path); err != nil || string(again) != string(first) {
		t.Errorf("another key: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	write(t, path, "short")
	if _, err := maskKey(path); err == nil || strings.Contains(err.Error(), "short") {
		t.Errorf("%v", err)
	}
}
