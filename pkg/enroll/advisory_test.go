package enroll

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestAdvisoryNamesWhoCouldUndoIt(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		as   *Account
		want string
	}{
		{"root", nil, "CAP_SYS_ADMIN"},
		{"user", &Account{UID: 65534, GID: 65534}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			yard := NewYard(root, "advisory-test")
			cgroup, err := yard.Make(c.name)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := errors.Join(yard.Unmake(cgroup), yard.Sweep()); err != nil {
					t.Error(err)
				}
			}()
			cmd := exec.Command("/bin/cat")
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := Start(cmd, root+cgroup, c.as); err != nil {
				t.Fatal(err)
			}
			got := Advisory(root, cgroup)
			in.Close()
			cmd.Wait()
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("advisory %q, want %q", got, c.want)
			}
		})
	}
	if got := Advisory(root, "/no-such-cgroup-"+os.Args[0]); got != "" {
		t.Errorf("a cgroup that is not there: %q", got)
	}
}
