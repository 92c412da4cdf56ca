package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/api"
)

func newRecordPrune() *cobra.Command {
	cmd := &cobra.Command{
		Use: "prune --older-than 2160h", Short: "remove old sessions from the record, which says so itself", Args: args(cobra.NoArgs),
	}
	age := cmd.Flags().Duration("older-than", 0, "how long ago a session must have ended to go")
	_ = cmd.MarkFlagRequired("older-than")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := dial(cmd)
		if err != nil {
			return err
		}
		removed, err := client.Prune(cmd.Context(), api.Prune{Before: time.Now().Add(-*age)})
		if err != nil {
			return err
		}
		fmt.Printf("%d tapes removed, %d bytes\n", len(removed.Tapes), removed.Bytes)
		return nil
	}
	return cmd
}
