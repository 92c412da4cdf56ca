package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/ca"
	"github.com/chaperone-dev/chaperone/pkg/config"
)

func newCA() *cobra.Command {
	cmd := &cobra.Command{Use: "ca", Short: "this host's certificate authority, for clients that insist on TLS"}
	show := func(use, short string, write func(*ca.Authority) []byte) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: args(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(cmd.Flags())
			if err != nil {
				return usageError{err}
			}
			host, err := os.Hostname()
			if err != nil {
				return err
			}
			a, err := ca.Open(filepath.Join(c.StateDir, "ca"), host, time.Now)
			if err != nil {
				return err
			}
			_, err = os.Stdout.Write(write(a))
			return err
		}}
	}
	cmd.AddCommand(
		show("show", "print the certificate to trust", (*ca.Authority).PEM),
		show("export", "print every certificate still in use", (*ca.Authority).Bundle),
		newCARotate(),
	)
	return cmd
}

func newCARotate() *cobra.Command {
	return &cobra.Command{Use: "rotate", Short: "make a new authority (restart the daemon afterwards)", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(cmd.Flags())
			if err != nil {
				return usageError{err}
			}
			host, err := os.Hostname()
			if err != nil {
				return err
			}
			if err := ca.Renew(filepath.Join(c.StateDir, "ca"), host, time.Now); err != nil {
				return err
			}
			fmt.Println("a new authority is made")
			fmt.Fprintln(os.Stderr, "hint: have clients trust what chaperone ca export prints, then restart the daemon")
			return nil
		}}
}
