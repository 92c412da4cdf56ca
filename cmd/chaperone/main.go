// Command chaperone puts a chaperone beside every subagent: one binary that is
// the daemon, the first try (run) and the tool of operators, approvers and auditors.
//
// # Why one binary
//
// It is deployed once per host and re-executes itself where a child process
// must be confined (the SQL reader) or must stand in an enrolled cgroup
// (the canary). Several binaries would have to be kept of one version by hand.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // a policy's now.getHours("Europe/Berlin"), on hosts without zone files

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/api"
)

// version and commit are stamped by the build.
var version, commit = "dev", "unknown"

// Exit codes, as DESIGN.md fixes them.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitRefused  = 3
	exitNotFound = 4
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	var code exitCode
	if errors.As(err, &code) {
		return int(code)
	}
	fmt.Fprintf(os.Stderr, "chaperone: %v\n", err)
	hint, status := hintOf(err), codeFor(cmd, err)
	var usage usageError
	if hint == "" && cmd != nil && errors.As(err, &usage) {
		hint = cmd.CommandPath() + " --help"
	}
	if hint != "" {
		fmt.Fprintf(os.Stderr, "hint: %s\n", hint)
	}
	return status
}

// exitCode is an error that only says how to exit: a command's own code.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError marks an error of the command line.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// hintOf is an error's next step; a configuration that is not there has one as well.
func hintOf(err error) string {
	var usage usageError
	if hint := api.HintOf(err); hint != "" || !errors.As(err, &usage) || !errors.Is(err, fs.ErrNotExist) {
		return hint
	}
	return "write it, or name another with --config or CHAPERONE_CONFIG"
}

func codeFor(cmd *cobra.Command, err error) int {
	var usage usageError
	switch {
	case errors.As(err, &usage), errors.Is(err, api.ErrInvalid), cmd != nil && !cmd.SilenceUsage:
		return exitUsage
	case errors.Is(err, api.ErrRefused):
		return exitRefused
	case errors.Is(err, api.ErrNotFound):
		return exitNotFound
	}
	return exitFailed
}
