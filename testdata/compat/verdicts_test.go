package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestLostTestsNeedAReason(t *testing.T) {
	straight := readVerdicts("\x16=== RUN   TestA\n\x16--- PASS: TestA (0.00s)\nnoise\x16--- PASS: TestB (0.01s)\n    \x16--- PASS: TestB/x (0.00s)\n\x16--- SKIP: TestC (0.00s)\n")
	watched := readVerdicts("--- PASS: TestA (0.00s)\n--- FAIL: TestB (0.01s)\n")
	lost := watched.missing(straight)
	if !slices.Equal(lost, []string{"TestB", "TestB/x"}) {
		t.Fatalf("lost %q", lost)
	}
	file := filepath.Join(t.TempDir(), "differences.txt")
	if err := os.WriteFile(file, []byte("# why\np TestB: it asks for TLS\np TestB/x: the same\np TestGone: no longer\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := readExcuses(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.judge("p", lost, watched); err != nil {
		t.Errorf("excused, and still: %v", err)
	}
	if err := e.judge("p", []string{"TestD"}, watched); err == nil {
		t.Error("a lost test without a reason passes")
	}
	if err := e.unused(); err == nil {
		t.Error("a reason that nothing needs stays")
	}
}

func TestThrowAwayFoldersInNamesAreNoDifference(t *testing.T) {
	v := readVerdicts("--- PASS: TestX/file='/tmp/TestX12345/001/a.conf' (0.00s)\n")
	if v.of["TestX/file='DIR/a.conf'"] != "PASS" {
		t.Errorf("read %v", v.of)
	}
}
