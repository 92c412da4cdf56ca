package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "which chaperone this is", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Printf("chaperone %s (%s) %s/%s %s\n", version, commit, runtime.GOOS, runtime.GOARCH, runtime.Version())
			return err
		},
	}
}
