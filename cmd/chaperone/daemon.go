package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/config"
)

func newDaemon() *cobra.Command {
	cmd := &cobra.Command{
		Use: "daemon", Short: "run the daemon in the foreground", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(cmd.Flags())
			if err != nil {
				return usageError{err}
			}
			err = serve(cmd.Context(), c, newLogger(c.Log))
			if err != nil && os.Geteuid() != 0 && api.HintOf(err) == "" {
				return api.Hint(err, "run it as root: sudo chaperone daemon")
			}
			return err
		},
	}
	config.DaemonFlags(cmd.Flags())
	return cmd
}

func newLogger(c config.Log) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // config has checked it
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// serve builds the house, lives in it until ctx ends, and leaves it in order.
func serve(ctx context.Context, c *config.Config, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h, err := build(ctx, c, log)
	if err != nil {
		return err
	}
	h.shutdown, h.vacates = cancel, false
	h.served.Go(h.survey)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	h.served.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
				_ = h.law.reload(ctx) // told to lawChanged
			}
		}
	})
	return errors.Join(h.live(ctx), h.close())
}

// live serves until ctx ends, then drains: no new connection, and those that
// are open have drain_timeout to end by themselves.
func (h *house) live(ctx context.Context) error {
	draining, drop := context.WithCancel(context.Background())
	defer drop()
	errs := make(chan error, len(h.listeners))
	for _, l := range h.listeners {
		h.served.Go(func() {
			if err := h.server.Serve(ctx, draining, l); err != nil {
				errs <- err
			}
		})
	}
	h.served.Go(func() { h.law.watch(ctx) })
	h.served.Go(func() { h.keepEnrolled(ctx) })
	h.log.Info("chaperone is up", "version", version, "pid", os.Getpid(), "control", h.config.ControlSocket)
	notifySystemd("READY=1")
	select {
	case <-ctx.Done():
	case err := <-errs:
		h.shutdown()
		drop()
		h.served.Wait()
		return err
	}
	notifySystemd("STOPPING=1")
	h.log.Info("draining", "flows", len(h.server.Flows()), "timeout", h.config.DrainTimeout)
	defer time.AfterFunc(h.config.DrainTimeout, drop).Stop()
	h.served.Wait()
	return nil
}

// notifySystemd tells the service manager how we are, where there is one.
func notifySystemd(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprint(conn, state)
}
