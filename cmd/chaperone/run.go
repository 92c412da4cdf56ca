package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/config"
	"github.com/chaperone-dev/chaperone/pkg/enroll"
)

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use: "run --identity NAME -- CMD ARGS…", Short: "run a command as an identity",
		Long: "Runs a command whose connections go through Chaperone, as the invoking user (SUDO_UID), with its\n" +
			"streams, terminal, signals and exit code untouched. Where no daemon answers, one lives as long as the command,\n" +
			"and as others that were run meanwhile.",
		Args: args(cobra.MinimumNArgs(1)),
	}
	identity := cmd.Flags().String("identity", "", "as which identity")
	account := cmd.Flags().String("user", "", "as which user (default: who called sudo, or yourself)")
	cmd.Flags().SetInterspersed(false)
	_ = cmd.MarkFlagRequired("identity")
	config.DaemonFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, command []string) error {
		c, err := config.Load(cmd.Flags())
		if err != nil {
			return usageError{err}
		}
		as, err := whoRuns(*account)
		if err != nil {
			return err
		}
		path, err := exec.LookPath(command[0])
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("%s is no program that can be run: %w", command[0], fs.ErrPermission)
		}
		if err != nil {
			return api.Hint(fmt.Errorf("%s: %w", command[0], api.ErrNotFound), "give the command after --")
		}
		one := &errand{config: c, identity: *identity, path: path, command: command, as: as, policyGiven: cmd.Flags().Changed("policy")}
		return one.run(cmd.Context())
	}
	return cmd
}

// whoRuns is the account a command runs as; nil: this process's own.
func whoRuns(name string) (*enroll.Account, error) {
	if os.Geteuid() != 0 {
		return nil, api.Hint(errors.New("run needs root, to place the command in an enrolled cgroup"), "sudo chaperone run …: the command itself runs as you")
	}
	if name == "" {
		name = os.Getenv("SUDO_UID")
	}
	if name == "" || name == "0" {
		return nil, nil
	}
	return enroll.AccountOf(name)
}

// landlord gives a place to run a command in: the daemon, or the house itself.
type landlord interface {
	Begin(context.Context, api.Begin) (api.Run, error)
	Release(ctx context.Context, id string) error
}

// with runs the command in a place of the landlord's, and gives the place back.
func (e *errand) with(ctx context.Context, l landlord) error {
	place, err := l.Begin(ctx, api.Begin{Identity: e.identity, Name: filepath.Base(e.path)})
	if err != nil {
		return err
	}
	e.begun = true
	code, err := runIn(place.CgroupPath, e.path, e.command, e.as)
	released := l.Release(context.WithoutCancel(ctx), place.ID)
	if released != nil && !errors.Is(released, api.ErrNotFound) { // the daemon, or the next one, clears it out
		fmt.Fprintf(os.Stderr, "chaperone: the run's cgroup stays enrolled: %v\n", released)
	}
	if err != nil {
		return err
	}
	if code != 0 {
		return exitCode(code)
	}
	return nil
}

// runIn starts the command in a cgroup, passes signals on, and returns its exit code.
func runIn(dir, path string, command []string, as *enroll.Account) (int, error) {
	cmd := &exec.Cmd{Path: path, Args: command, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	cmd.Env = environment(as)
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	if err := enroll.Start(cmd, dir, as); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			if !terminalSent(s) {
				_ = cmd.Process.Signal(s) // it may be gone
			}
		case err := <-ended:
			return codeOf(cmd, err)
		}
	}
}

// terminalSent says that a terminal sent a signal of its keys, and so to the command
// as well: it does to its foreground group, which both are in.
func terminalSent(s os.Signal) bool {
	if s != syscall.SIGINT && s != syscall.SIGQUIT {
		return false
	}
	terminal, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false // there is none
	}
	defer unix.Close(terminal)
	group, err := unix.IoctlGetUint32(terminal, unix.TIOCGPGRP)
	return err == nil && int(group) == syscall.Getpgrp()
}

// codeOf is a command's exit code as a shell tells it.
func codeOf(cmd *exec.Cmd, err error) (int, error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// environment is ours, made another account's where the command is another's, and
// without what was meant for Chaperone.
func environment(as *enroll.Account) []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		own := as != nil && (name == "HOME" || name == "USER" || name == "LOGNAME" || strings.HasPrefix(name, "SUDO_"))
		if !own && !strings.HasPrefix(name, "CHAPERONE_") {
			env = append(env, v)
		}
	}
	if as != nil {
		env = append(env, "HOME="+as.Home, "USER="+as.Name, "LOGNAME="+as.Name)
	}
	return env
}
