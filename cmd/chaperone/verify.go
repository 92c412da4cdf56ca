package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/record"
)

var errBroken = errors.New("the record is broken")

func newRecordVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify", Short: "check the record's chain, signatures and tapes", Args: args(cobra.NoArgs),
		Long: "Checks order, checksums, chain, checkpoint signatures, every session's tape, and the kernel's count of\n" +
			"connections, and names the first broken entry. Runs beside the daemon or without it.",
	}
	format := outputFlag(cmd)
	key := cmd.Flags().String("key", "", "file with the public key (default: the one beside the record, which a forger could have replaced)")
	anchors := cmd.Flags().StringArray("anchor", nil, "file with a checkpoint note kept outside of this host")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := recordDir(cmd)
		if err != nil {
			return err
		}
		public, err := publicKey(dir, *key)
		if err != nil {
			return err
		}
		notes, err := readAll(*anchors)
		if err != nil {
			return err
		}
		report, err := record.Verify(dir, public, notes...)
		if err != nil {
			return err
		}
		if err := showReport(*format, report); err != nil {
			return err
		}
		if !report.OK() {
			return fmt.Errorf("%w: %s", errBroken, report.Broken[0])
		}
		return nil
	}
	return cmd
}

func publicKey(dir, file string) (string, error) {
	if file == "" {
		return record.PublicKey(dir)
	}
	data, err := os.ReadFile(file)
	return strings.TrimSpace(string(data)), err
}

func readAll(files []string) ([]string, error) {
	var texts []string
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		texts = append(texts, string(data))
	}
	return texts, nil
}

func showReport(format string, r *record.Report) error {
	if format != "table" {
		return show(format, listing{Values: r})
	}
	fmt.Printf("entries      %d (%d to %d), signed up to %d by %d checkpoints\n", r.Entries, r.First, r.Last, r.Sealed, r.Checkpoints)
	fmt.Printf("sessions     %d, %d open, %d tapes checked, %d pruned\n", r.Sessions, r.Open, r.Tapes, r.Pruned)
	if r.Flows.Known {
		fmt.Printf("connections  %d redirected by the kernel, %d recorded, %d missing", r.Flows.Kernel, r.Flows.Recorded, r.Flows.Missing)
		if n := r.Flows.Unexplained; n > 0 {
			fmt.Printf(", %d more between one run and the next", n)
		}
		fmt.Println()
	}
	for _, d := range r.Doubts {
		fmt.Printf("doubt        %s\n", d)
	}
	for _, b := range r.Broken {
		fmt.Printf("BROKEN       %s\n", b)
	}
	switch {
	case r.OK() && len(r.Doubts) > 0:
		fmt.Printf("verified, with %d doubts\n", len(r.Doubts))
	case r.OK():
		fmt.Println("verified")
	}
	return nil
}

func newRecordCheckpoint() *cobra.Command {
	return &cobra.Command{
		Use: "checkpoint", Short: "print the last signed checkpoint, to be kept outside of this host", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := openRecord(cmd)
			if err != nil {
				return err
			}
			last := ""
			for ev, err := range r.Events(0) {
				if err != nil || ev.Type != record.Checkpointed {
					continue
				}
				if note, ok := ev.Result["note"].(string); ok {
					last = note
				}
			}
			if last == "" {
				return errors.New("the record has no checkpoint yet")
			}
			fmt.Print(last)
			return nil
		},
	}
}
