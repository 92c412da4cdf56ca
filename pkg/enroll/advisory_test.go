package enroll

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/pkg/cgroup2"
)

const (
	self         = "/proc/self/exe"
	waitVariable = "CHAPERONE_TEST_WAITS"
)

// TestWaiting is a child that runs our own program, as a canary is.
func TestWaiting(t *testing.T) {
	if os.Getenv(waitVariable) != "" {
		_, _ = io.ReadAll(os.Stdin)
	}
}

func TestAdvisoryNamesWhoCouldUndoIt(t *testing.T) {
	root, err := cgroup2.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		program string
		as      *Account
		want    string
	}{
		{"root", "/bin/cat", nil, "CAP_SYS_ADMIN"},
		{"user", "/bin/cat", &Account{UID: 65534, GID: 65534}, ""},
		{"canary", self, nil, ""},
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
			cmd := exec.Command(c.program)
			if c.program == self {
				cmd = exec.Command(self, "-test.run=^TestWaiting$")
				cmd.Env = []string{waitVariable + "=1"}
			}
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			below := root + cgroup + "/below" // whoever can make cgroups is not out of sight in one
			if err := os.Mkdir(below, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := Start(cmd, below, c.as); err != nil {
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
