package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/ca"
)

func TestOnlyFilesOfLawgiversAreAPolicy(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(dir, file string) error
		want  string
	}{
		"pipe":           {func(_, file string) error { return syscall.Mkfifo(file+".yaml", 0o600) }, "not a regular file"},
		"device":         {func(_, file string) error { return os.Symlink("/dev/zero", file+".yaml") }, "not a regular file"},
		"folder":         {func(_, file string) error { return os.Mkdir(file+".yaml", 0o700) }, "not a regular file"},
		"anybody's":      {func(_, file string) error { return os.Chmod(file, 0o602) }, "a.yaml can be written by anybody (chmod o-w it)"},
		"anybody's home": {func(dir, _ string) error { return os.Chmod(dir, 0o703) }, "can be written by anybody"},
		"a stranger's":   {func(_, file string) error { return os.Chown(file, 4242, 0) }, "belongs to user 4242 (chown it to root)"},
		"huge":           {func(_, file string) error { return os.Truncate(file, 1<<30) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "a.yaml")
			write(t, file, goodPolicy)
			if err := test.spoil(dir, file); err != nil {
				if os.Geteuid() != 0 {
					t.Skip("needs root, to give a file away")
				}
				t.Fatal(err)
			}
			files, err := readPolicy(dir)
			if test.want == "" {
				if err != nil || len(files[0].Data) != policyLimit {
					t.Errorf("%v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestABundleHoldsCertificates(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "empty.pem"), "no certificate\n")
	a, err := ca.Open(filepath.Join(dir, "ca"), "host", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "good.pem"), string(a.PEM()))
	for name, want := range map[string]string{"good.pem": "", "empty.pem": "holds no certificate", "none.pem": "no such file", "ca": "not a regular file"} {
		err := bundle(filepath.Join(dir, name))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhoBecameRootBySudoMayBringAPolicy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give a file away")
	}
	file := filepath.Join(t.TempDir(), "a.yaml")
	write(t, file, goodPolicy)
	if err := os.Chown(file, 4242, 0); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SUDO_UID", "4242")
	if _, err := readPolicy(file); err != nil {
		t.Error(err)
	}
}
