package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestDoctorAdvisesOnlyWhatTheKernelHas(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "0"), "0\n")
	write(t, filepath.Join(dir, "1"), "1\n")
	for _, c := range []struct {
		examine func(string) finding
		file    string
		ok      bool
		says    string
	}{
		{tracing, "0", false, "kernel.yama.ptrace_scope=1"},
		{tracing, "1", true, "cannot trace"},
		{tracing, "none", false, "no Yama"},
		{typing, "0", true, "cannot type"},
		{typing, "1", false, "dev.tty.legacy_tiocsti=0"},
		{typing, "none", false, "run it without a terminal"},
	} {
		f := c.examine(filepath.Join(dir, c.file))
		if f.OK != c.ok || !strings.Contains(f.Effect, c.says) || f.Needed {
			t.Errorf("%s: %+v", c.file, f)
		}
		if c.file == "none" && strings.Contains(f.Effect, "set ") {
			t.Errorf("advises what is not there: %s", f.Effect)
		}
	}
}
