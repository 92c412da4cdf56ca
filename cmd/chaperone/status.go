package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/approval"
)

func newStatus() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "what is enrolled, and when it was last verified", Args: args(cobra.NoArgs)}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := dial(cmd)
		if err != nil {
			return err
		}
		s, err := client.Status(cmd.Context())
		if err != nil {
			return err
		}
		if *format != "table" {
			return show(*format, listing{Values: s})
		}
		return printStatus(s)
	}
	return cmd
}

func printStatus(s api.Status) error {
	fmt.Printf("chaperone  %s, pid %d on %s, up %s\n", s.Version, s.PID, s.Host, time.Since(s.Started).Round(time.Second))
	fmt.Printf("policy     %s, generation %d, loaded %s\n", s.Policy.Source, s.Policy.Generation, ago(s.Policy.Loaded))
	if s.Policy.Error != "" {
		fmt.Printf("           the last edit was NOT taken: %s\n", s.Policy.Error)
	}
	fmt.Printf("canary     %s\n", canary(s.Canary))
	fmt.Printf("record     %s, entry %d, %d bytes\n", s.Recorder.Path, s.Recorder.Seq, s.Recorder.Bytes)
	if s.Recorder.Error != "" {
		fmt.Printf("           cannot be written: %s\n", s.Recorder.Error)
	}
	fmt.Printf("now        %d flows, %d asks pending\n", s.Flows, s.Asks)
	for _, n := range s.Notes {
		fmt.Printf("note       %s\n", n)
	}
	if len(s.Enrollments) == 0 {
		fmt.Println("nothing is enrolled")
		return nil
	}
	fmt.Println()
	l := listing{Header: []string{"IDENTITY", "CGROUP", "SOURCE", "SINCE", "VERIFIED", "FLOWS", "REMARKS"}}
	for _, e := range s.Enrollments {
		l.Rows = append(l.Rows, enrolledRow(e))
	}
	return show("table", l)
}

// enrolledRow shows an enrollment. A cgroup's name is its maker's, who may be a user that systemd gave a part of the tree.
func enrolledRow(e api.Enrollment) []string {
	return []string{e.Identity, approval.Visible(e.Cgroup), approval.Visible(e.Source), ago(e.Since), ago(e.Verified), strconv.Itoa(e.Flows), approval.Visible(remarks(e))}
}

func remarks(e api.Enrollment) string {
	var all []string
	if e.Error != "" {
		all = append(all, "NOT VERIFIED since "+ago(e.ErrorSince)+": "+e.Error)
	}
	if e.Advisory != "" {
		all = append(all, "advisory: "+e.Advisory)
	}
	if e.Uncovered > 0 {
		all = append(all, fmt.Sprintf("%d uncovered connections", e.Uncovered))
	}
	return strings.Join(all, "; ")
}

// canary is the worst of all enrollments, in a line.
func canary(c api.Canary) string {
	text := "never verified"
	if !c.Verified.IsZero() {
		text = "verified " + ago(c.Verified)
	}
	if c.Failing == 0 {
		return text
	}
	worst := fmt.Sprintf("FAILED for %s of %s, since %s: %s", approval.Visible(c.Cgroup), c.Identity, ago(c.Since), approval.Visible(c.Error))
	if c.Failing > 1 {
		worst = fmt.Sprintf("%s; and for %d more", worst, c.Failing-1)
	}
	return worst + "; " + text
}

func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return time.Since(t).Round(time.Second).String() + " ago"
}
