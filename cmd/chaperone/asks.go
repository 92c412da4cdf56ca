package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/approval"
)

func newAsks() *cobra.Command {
	cmd := &cobra.Command{Use: "asks [list]", Short: "requests that wait for a person", Args: args(cobra.NoArgs)}
	listAsks(cmd)
	list := &cobra.Command{Use: "list", Short: "list the asks", Args: args(cobra.NoArgs)}
	listAsks(list)
	cmd.AddCommand(list, newAsksWatch(), newAsksShow())
	return cmd
}

// askStates are what an ask can be.
var askStates = []string{approval.Pending, approval.Approved, approval.Denied, approval.Expired, approval.Cancelled}

// listAsks makes cmd the verb that lists asks.
func listAsks(cmd *cobra.Command) {
	format := outputFlag(cmd)
	state := cmd.Flags().String("state", approval.Pending, "pending, approved, denied, expired, cancelled or all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := dial(cmd)
		if err != nil {
			return err
		}
		if *state == "all" {
			*state = ""
		}
		if *state != "" && !slices.Contains(askStates, *state) {
			return usageError{fmt.Errorf("no ask is %q: %s or all", *state, strings.Join(askStates, ", "))}
		}
		asks, err := client.Asks(cmd.Context(), *state)
		if err != nil {
			return err
		}
		l := listing{Header: []string{"ID", "STATE", "IDENTITY", "TARGET", "RULE", "LEFT", "REQUEST"}, Values: asks}
		for _, a := range asks {
			l.Rows = append(l.Rows, []string{a.ID, a.State, a.Identity, a.Target, a.Rule, timeLeft(a), oneLine(a.Request.Text, 60)})
		}
		return show(*format, l)
	}
}

func newAsksWatch() *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "print asks as they come and are answered", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := dial(cmd)
			if err != nil {
				return err
			}
			err = client.WatchAsks(cmd.Context(), func(a approval.View) error {
				_, err := fmt.Printf("%s  %-9s %s  %s on %s: %s\n",
					time.Now().Format(time.TimeOnly), a.State, a.ID, a.Identity, a.Target, oneLine(a.Request.Text, 100))
				return err
			})
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return api.Hint(errors.New("the daemon ended the watch"), "it was stopped, or this terminal was too slow; see chaperone status")
			}
			return err
		},
	}
}

func newAsksShow() *cobra.Command {
	cmd := &cobra.Command{Use: "show ID", Short: "everything about one ask", Args: args(cobra.ExactArgs(1))}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		client, err := dial(cmd)
		if err != nil {
			return err
		}
		a, err := client.Ask(cmd.Context(), ids[0])
		if err != nil {
			return err
		}
		if *format != "table" {
			return show(*format, listing{Values: a})
		}
		printAsk(a)
		return nil
	}
	return cmd
}

// printAsk shows an approver what there is to decide. What comes from the
// subagent is printed visibly: no control character reaches the terminal.
func printAsk(a approval.View) {
	field := func(name, value string) {
		if value != "" {
			fmt.Printf("%-10s %s\n", name, value)
		}
	}
	field("ask", a.ID)
	field("state", a.State)
	field("identity", a.Identity)
	field("target", a.Target)
	if a.Destination.IsValid() {
		field("to", a.Destination.String())
	}
	field("rule", a.Rule)
	field("says", a.Message)
	field("approvers", strings.Join(a.Approvers, ", "))
	field("session", a.Flow)
	if p := a.Process; p != nil {
		field("process", fmt.Sprintf("%d %s (uid %d)", p.PID, approval.Visible(p.Exe), p.UID))
		field("command", approval.Visible(strings.Join(p.Argv, " ")))
	}
	field("opened", a.Opened.Local().Format(time.DateTime))
	field("left", timeLeft(a))
	field("decided by", a.By)
	field("reason", approval.Visible(a.Reason))
	for _, e := range a.Request.Effects {
		bounded := ""
		if !e.Bounded {
			bounded = " (unbounded)"
		}
		field("effect", e.Action+" "+approval.Visible(e.Object)+bounded)
	}
	fmt.Println("request")
	for _, line := range approval.Lines(a.Request.Text) {
		fmt.Println("  " + line)
	}
	for i, value := range a.Request.Parameters {
		name := fmt.Sprintf("$%d", i+1)
		if a.Request.HTTP != nil { // "host: ...", "body: ..."
			name, value, _ = strings.Cut(value, ": ")
		}
		field(name, approval.Visible(value))
	}
}

func newApprove() *cobra.Command {
	cmd := &cobra.Command{Use: "approve ID", Short: "let a held request go on", Args: args(cobra.ExactArgs(1))}
	scope := cmd.Flags().String("scope", "once", "once, session, or a duration such as 15m: how long the same request is approved")
	reason := cmd.Flags().String("reason", "", "why, for the record")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		return decide(cmd, ids[0], api.Decision{Approve: true, Scope: *scope, Reason: *reason})
	}
	return cmd
}

func newDeny() *cobra.Command {
	cmd := &cobra.Command{Use: "deny ID", Short: "refuse a held request", Args: args(cobra.ExactArgs(1))}
	reason := cmd.Flags().String("reason", "", "why, for the record and for the client")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		return decide(cmd, ids[0], api.Decision{Reason: *reason})
	}
	return cmd
}

func decide(cmd *cobra.Command, id string, d api.Decision) error {
	client, err := dial(cmd)
	if err != nil {
		return err
	}
	a, err := client.Decide(cmd.Context(), id, d)
	if err != nil {
		return err
	}
	fmt.Printf("%s %s by %s\n", a.ID, a.State, a.By)
	return nil
}

func timeLeft(a approval.View) string {
	if a.State != approval.Pending {
		return ""
	}
	return max(0, time.Until(a.Expires)).Round(time.Second).String()
}

// oneLine is the visible beginning of untrusted text.
func oneLine(text string, width int) string {
	line := []rune(approval.Visible(strings.Join(strings.Fields(text), " ")))
	if len(line) > width {
		return string(line[:width-1]) + "…"
	}
	return string(line)
}
