package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/config"
	"github.com/chaperone-dev/chaperone/pkg/enroll"
	"github.com/chaperone-dev/chaperone/pkg/record"
)

// How a run finds a daemon, where another run's is about to begin or to end.
const (
	findTime  = 15 * time.Second
	findEvery = 100 * time.Millisecond
	stayEvery = 200 * time.Millisecond
)

// errand is one command to be run as an identity.
type errand struct {
	config      *config.Config
	identity    string
	path        string
	command     []string
	as          *enroll.Account
	policyGiven bool
	begun       bool // it has a place, and may have been run: it is not run again
}

// run runs the command with the daemon that answers, or with one of its own. Of two that
// begin together one is the daemon of both; one that is ending makes room for the next.
func (e *errand) run(ctx context.Context) error {
	deadline := time.Now().Add(findTime)
	for {
		err := e.once(ctx)
		if e.begun || !passing(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(findEvery):
		}
	}
}

// passing says that nothing was run, since a daemon is between its beginning and its end.
func passing(err error) bool {
	for _, p := range []error{record.ErrBusy, api.ErrNotRunning, api.ErrEnding, syscall.ECONNRESET, io.EOF} {
		if errors.Is(err, p) {
			return true
		}
	}
	return false
}

func (e *errand) once(ctx context.Context) error {
	client := api.Dial(e.config.ControlSocket)
	defer client.Close()
	status, err := client.Status(ctx)
	switch {
	case errors.Is(err, api.ErrNotRunning):
		return e.alone(ctx)
	case err != nil:
		return err
	case e.policyGiven && (status.Policy.Source != e.config.Policy || status.Policy.Error != ""):
		return api.Hint(errors.New("a daemon is running, and its policy applies"), "leave --policy out, or give another --control-socket, --state-dir and --pin-dir")
	}
	return e.with(ctx, client)
}

// alone runs the command with a daemon of its own, in this process.
func (e *errand) alone(ctx context.Context) error {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx)) // signals are the command's
	defer stop()
	level := slog.LevelWarn
	if e.config.Log.Level == "debug" {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	h, err := build(ctx, e.config, log)
	if err != nil {
		return err
	}
	h.shutdown, h.vacates = stop, true
	lived := make(chan error, 1)
	go func() { lived <- h.live(ctx) }()
	err = e.with(ctx, h)
	h.stayForOthers(ctx)
	stop()
	return errors.Join(err, <-lived, h.close())
}

// stayForOthers waits until the runs that began with this process's daemon are over:
// without it their connections would be refused. A signal ends it.
func (h *house) stayForOthers(ctx context.Context) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)
	for told := false; !h.lastRun(); told = true {
		if !told && onTerminal(os.Stderr) {
			fmt.Fprintln(os.Stderr, "chaperone: other runs use this one's daemon, which stays until they are over (ctrl-c: their connections are refused)")
		}
		select {
		case <-ctx.Done():
			return
		case <-signals:
			return
		case <-time.After(stayEvery):
		}
	}
}

// lastRun says that no run is left; from then on none begins here.
func (h *house) lastRun() bool {
	h.tenants.mu.Lock()
	defer h.tenants.mu.Unlock()
	if h.tenants.beginning > 0 {
		return false
	}
	for _, e := range h.tenants.registry.List() {
		if strings.HasPrefix(e.Source, "run") {
			return false
		}
	}
	h.tenants.ending = true
	return true
}

// beginRun lets a run begin, unless the last one is over. The caller says when it has begun.
func (h *house) beginRun() (begun func(), err error) {
	h.tenants.mu.Lock()
	defer h.tenants.mu.Unlock()
	if h.tenants.ending {
		return nil, api.ErrEnding
	}
	h.tenants.beginning++
	return func() {
		h.tenants.mu.Lock()
		defer h.tenants.mu.Unlock()
		h.tenants.beginning--
	}, nil
}
