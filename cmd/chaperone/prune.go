package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/approval"
	"github.com/chaperone-dev/chaperone/pkg/config"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/record"
)

func newRecordPrune() *cobra.Command {
	cmd := &cobra.Command{
		Use: "prune --older-than 2160h", Short: "remove old sessions from the record, which says so itself", Args: args(cobra.NoArgs),
		Long: "Removes the tapes of sessions that ended so long ago, and what of the log tells of nothing younger. The record\n" +
			"names what was removed. The daemon does it; where none is running, this command does, as the record's one writer.",
	}
	age := cmd.Flags().Duration("older-than", 0, "how long ago a session must have ended to go")
	_ = cmd.MarkFlagRequired("older-than")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := dial(cmd)
		if err != nil {
			return err
		}
		before := time.Now().Add(-*age)
		removed, err := client.Prune(cmd.Context(), api.Prune{Before: before})
		if errors.Is(err, api.ErrNotRunning) {
			removed, err = pruneAlone(cmd, before)
		}
		if err != nil && len(removed.Tapes) == 0 {
			return err
		}
		fmt.Printf("%d tapes removed, %d bytes\n", len(removed.Tapes), removed.Bytes)
		return err
	}
	return cmd
}

// pruneAlone prunes a record that no daemon writes. A full disk can keep the daemon from doing so.
func pruneAlone(cmd *cobra.Command, before time.Time) (removed record.Removed, err error) {
	if _, err := openRecord(cmd); err != nil {
		return removed, err // none is made for it
	}
	c, err := config.Load(cmd.Flags())
	if err != nil {
		return removed, usageError{err}
	}
	dir, err := recordDir(cmd)
	if err != nil {
		return removed, err
	}
	r, err := record.Open(record.Config{Dir: dir, MaxBytes: c.Record.Quota})
	if errors.Is(err, record.ErrBusy) {
		return removed, api.Hint(err, "a daemon has it that does not answer at "+c.ControlSocket+": name its socket with --control-socket")
	}
	if err != nil {
		return removed, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	removed, err = r.Prune(before)
	return removed, errors.Join(err, r.Log(flow.Event{Type: flow.AdminAct, Result: pruned(err)}))
}

// pruned is what the record says of an act that no daemon saw.
func pruned(err error) map[string]any {
	act := map[string]any{"act": "prune the record", "by": approval.Person{UID: uint32(os.Geteuid())}.String(), "without": "daemon"}
	if err != nil {
		act["refused"] = err.Error()
	}
	return act
}
