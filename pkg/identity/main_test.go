package identity

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/chaperone-dev/chaperone/pkg/leaks"
)

// TestMain doubles as a process with another root.
func TestMain(m *testing.M) {
	root := os.Getenv("CHAPERONE_TEST_ROOT")
	if root == "" {
		os.Exit(leaks.Run(m))
	}
	if err := syscall.Chroot(root); err != nil {
		fmt.Println(err)
	}
	if err := os.Chdir("/etc"); err != nil {
		fmt.Println(err)
	}
	fmt.Println("there")
	_, _ = io.ReadAll(os.Stdin)
}
