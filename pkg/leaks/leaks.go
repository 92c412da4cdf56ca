// Package leaks ends a package's tests with a count: whoever started a goroutine
// has waited for it, and whoever opened a file has closed it.
//
//	func TestMain(m *testing.M) { os.Exit(leaks.Run(m)) }
package leaks

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long descriptors may take to be closed after the last test.
const patience = 2 * time.Second

// Run runs the tests and returns the exit code: theirs, or 1 when something is left.
func Run(m *testing.M) int {
	before := Descriptors()
	code := m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, "leaks: left running:", err)
		code = max(code, 1)
	}
	now := Descriptors()
	for deadline := time.Now().Add(patience); now > before && time.Now().Before(deadline); now = Descriptors() {
		time.Sleep(10 * time.Millisecond)
	}
	if now > before {
		fmt.Fprintf(os.Stderr, "leaks: %d files left open\n", now-before)
		code = max(code, 1)
	}
	return code
}

// Descriptors counts this process's open files. The runtime's own poller is among
// them from the first call on.
func Descriptors() int {
	r, w, err := os.Pipe()
	if err != nil {
		panic(fmt.Sprintf("a pipe to count with: %v", err))
	}
	r.Close()
	w.Close()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(fmt.Sprintf("count descriptors: %v", err))
	}
	return len(list)
}
