package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/approval"
	"github.com/chaperone-dev/chaperone/pkg/config"
	"github.com/chaperone-dev/chaperone/pkg/enroll"
	"github.com/chaperone-dev/chaperone/pkg/record"

	"github.com/chaperone-dev/chaperone/bpf"
	"github.com/chaperone-dev/chaperone/pkg/cgroup2"
)

func newEnroll() *cobra.Command {
	return enrollVerb("enroll", "bind running processes to an identity", true, (*api.Client).Enroll, func(e api.Enrollment) string {
		text := fmt.Sprintf("%s is enrolled for %s", approval.Visible(e.Cgroup), e.Identity)
		if e.Uncovered > 0 {
			text += fmt.Sprintf("; %d older connections could not be ended (restart the processes)", e.Uncovered)
		}
		switch {
		case e.Error != "":
			text += "; the canary FAILED: " + approval.Visible(e.Error)
		case e.Verified.IsZero():
			text += "; it is not verified"
		}
		return text
	})
}

func newUnenroll() *cobra.Command {
	return enrollVerb("unenroll", "end an enrollment", false, (*api.Client).Unenroll, func(e api.Enrollment) string {
		return fmt.Sprintf("%s is free", approval.Visible(e.Cgroup))
	})
}

func enrollVerb(use, short string, named bool, do func(*api.Client, context.Context, api.Enroll) (api.Enrollment, error), say func(api.Enrollment) string) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args(cobra.NoArgs)}
	var q api.Enroll
	cmd.Flags().StringVar(&q.Identity, "identity", "", "which identity")
	cmd.Flags().StringVar(&q.Unit, "unit", "", "a systemd unit")
	cmd.Flags().StringVar(&q.Cgroup, "cgroup", "", "a cgroup, by its path below the cgroup v2 mount")
	process := "a process, by the cgroup it was moved into"
	if named {
		process = "a process, without the children it has already: it is moved into a cgroup of its own"
	}
	cmd.Flags().IntVar(&q.PID, "pid", 0, process)
	cmd.Flags().StringVar(&q.Container, "container", "", "a container")
	if named {
		_ = cmd.MarkFlagRequired("identity")
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if given(cmd, "unit", "cgroup", "pid", "container") != 1 {
			return usageError{errors.New(api.OneSelector)}
		}
		client, err := dial(cmd)
		if err != nil {
			return err
		}
		if !named && q.Identity == "" {
			q.Identity = api.Anybody
		}
		e, err := do(client, cmd.Context(), q)
		if err != nil {
			return err
		}
		fmt.Println(say(e))
		return nil
	}
	return cmd
}

// given counts which of some flags are on the command line.
func given(cmd *cobra.Command, names ...string) int {
	n := 0
	for _, name := range names {
		if cmd.Flags().Changed(name) {
			n++
		}
	}
	return n
}

// enrollments is where in the state directory they are kept.
const enrollments = "enrollments"

func newCleanup() *cobra.Command {
	cmd := &cobra.Command{
		Use: "cleanup", Short: "take Chaperone's programs off the kernel: enrolled processes are free afterwards", Args: args(cobra.NoArgs),
	}
	config.DaemonFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := config.Load(cmd.Flags())
		if err != nil {
			return usageError{err}
		}
		if os.Geteuid() != 0 {
			return api.Hint(errors.New("cleanup needs root"), "sudo chaperone cleanup")
		}
		if err := abandoned(cmd.Context(), c); err != nil {
			return err
		}
		root, err := cgroup2.Root()
		if err != nil {
			return err
		}
		err = bpf.Remove(c.PinDir)
		if errors.Is(err, bpf.ErrBusy) {
			return api.Hint(fmt.Errorf("%w: %w", api.ErrRefused, err), "a daemon with another control socket has these pins: stop it first")
		}
		if err != nil {
			return err
		}
		return errors.Join(enroll.Forget(filepath.Join(c.StateDir, enrollments)), enroll.NewYard(root, c.PinDir).Sweep(), api.Clear(c.ControlSocket))
	}
	return cmd
}

// abandoned is nil when no daemon uses the control socket or the state directory.
func abandoned(ctx context.Context, c *config.Config) error {
	_, err := api.Dial(c.ControlSocket).Status(ctx)
	if err == nil {
		return api.Hint(fmt.Errorf("a daemon is running: %w", api.ErrRefused), "stop it first")
	}
	if !errors.Is(err, api.ErrNotRunning) {
		return err // there may be one
	}
	busy, err := record.Writing(filepath.Join(c.StateDir, "record"))
	if busy {
		return api.Hint(fmt.Errorf("a daemon uses %s: %w", c.StateDir, api.ErrRefused), "stop it first, or name another --state-dir")
	}
	return err
}
