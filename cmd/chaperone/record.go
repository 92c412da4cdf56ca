package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/config"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/record"
)

func newRecord() *cobra.Command {
	cmd := &cobra.Command{Use: "record", Short: "read and verify the host's record"}
	cmd.AddCommand(newRecordTail(), newRecordSearch(), newRecordExport(), newRecordVerify(), newRecordCheckpoint(), newRecordPrune())
	return cmd
}

// recordDir is where the record is, whether or not a daemon writes it.
func recordDir(cmd *cobra.Command) (string, error) {
	c, err := config.Load(cmd.Flags())
	if err != nil {
		return "", usageError{err}
	}
	return filepath.Join(c.StateDir, "record"), nil
}

func openRecord(cmd *cobra.Command) (*record.Reader, error) {
	dir, err := recordDir(cmd)
	if err != nil {
		return nil, err
	}
	r, err := record.OpenReader(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, api.Hint(fmt.Errorf("no record in %s: %w", dir, api.ErrNotFound), "name another state directory with --state-dir")
	}
	return r, err
}

func newRecordTail() *cobra.Command {
	cmd := &cobra.Command{Use: "tail", Short: "print the last events, and with -f those to come", Args: args(cobra.NoArgs)}
	follow := cmd.Flags().BoolP("follow", "f", false, "go on as events come")
	lines := cmd.Flags().IntP("lines", "n", 20, "how many to begin with")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := belowNothing("lines", *lines); err != nil {
			return err
		}
		r, err := openRecord(cmd)
		if err != nil {
			return err
		}
		var last []flow.Event
		next := uint64(0)
		for ev, err := range r.Events(0) {
			if err != nil {
				fmt.Fprintln(os.Stderr, "chaperone:", err)
				continue
			}
			next = ev.Seq + 1
			if last = append(last, ev); len(last) > *lines {
				last = last[1:]
			}
		}
		for _, ev := range last {
			printEvent(ev)
		}
		if !*follow {
			return nil
		}
		for ev, err := range r.Follow(cmd.Context(), next) {
			if err != nil {
				return err
			}
			printEvent(ev)
		}
		return nil
	}
	return cmd
}

func printEvent(ev flow.Event) {
	fmt.Printf("%6d  %s  %-18s %s\n", ev.Seq, ev.Time.Local().Format("2006-01-02 15:04:05.000"), ev.Type, strings.Join(gistOf(ev), " "))
}

func newRecordSearch() *cobra.Command {
	cmd := &cobra.Command{Use: "search [TEXT]", Short: "find events", Args: args(cobra.MaximumNArgs(1))}
	var q query
	cmd.Flags().StringVar(&q.identity, "identity", "", "of this identity")
	cmd.Flags().StringVar(&q.kind, "type", "", "of this type, such as ask.resolved")
	cmd.Flags().DurationVar(&q.since, "since", 0, "not older than this")
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, text []string) error {
		q.text = strings.Join(text, "")
		r, err := openRecord(cmd)
		if err != nil {
			return err
		}
		var found []flow.Event
		for ev, err := range r.Events(0) {
			if err != nil {
				fmt.Fprintln(os.Stderr, "chaperone:", err)
				continue
			}
			if q.matches(ev) {
				found = append(found, ev)
			}
		}
		if err := showEvents(*format, found); err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("no such event: %w", api.ErrNotFound)
		}
		return nil
	}
	return cmd
}

// query says which events are searched for; what is empty does not matter.
type query struct {
	identity, kind, text string
	since                time.Duration // not older
}

func (q query) matches(ev flow.Event) bool {
	return (q.identity == "" || ev.Identity == q.identity) && (q.kind == "" || ev.Type == q.kind) &&
		(q.since <= 0 || time.Since(ev.Time) <= q.since) && (q.text == "" || mentions(ev, q.text))
}

// showEvents prints events as tail does, or whole.
func showEvents(format string, found []flow.Event) error {
	if format != "table" {
		return show(format, listing{Values: found})
	}
	for _, ev := range found {
		printEvent(ev)
	}
	return nil
}

func mentions(ev flow.Event, text string) bool {
	data, err := json.Marshal(ev)
	return err == nil && strings.Contains(strings.ToLower(string(data)), strings.ToLower(text))
}

func newRecordExport() *cobra.Command {
	return &cobra.Command{
		Use: "export", Short: "write all events as NDJSON", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := openRecord(cmd)
			if err != nil {
				return err
			}
			var out io.Writer = os.Stdout
			if onTerminal(os.Stdout) {
				out = &escaped{w: out} // the very bytes are for who checks them
			}
			return r.Export(out, 0)
		},
	}
}
