package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/api"
)

// newList makes a verb that lists one kind of thing the daemon knows.
func newList[T any](use, short string, header []string, get func(*api.Client, context.Context) ([]T, error), row func(T) []string) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args(cobra.NoArgs)}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := dial(cmd)
		if err != nil {
			return err
		}
		found, err := get(client, cmd.Context())
		if err != nil {
			return err
		}
		l := listing{Header: header, Values: found}
		for _, f := range found {
			l.Rows = append(l.Rows, row(f))
		}
		return show(*format, l)
	}
	return cmd
}

func newIdentities() *cobra.Command {
	return newList("identities", "the identities of the policy, and where they run",
		[]string{"NAME", "OWNER", "PURPOSE", "EXPIRES", "ENROLLED", "FLOWS"}, (*api.Client).Identities,
		func(i api.Identity) []string {
			return []string{i.Name, i.Owner, i.Purpose, expiry(i), strings.Join(i.Enrollments, " "), strconv.Itoa(i.Flows)}
		})
}

func expiry(i api.Identity) string {
	last := i.Expires.Add(-1).Format(time.DateOnly) // its last day: it expires as the next begins
	switch {
	case i.Expires.IsZero():
		return "never"
	case i.Expired:
		return "expired " + last
	}
	return last
}

func newTargets() *cobra.Command {
	return newList("targets", "the targets of the policy",
		[]string{"NAME", "PROTOCOL", "ADDRESSES", "RECORD", "TLS"}, (*api.Client).Targets,
		func(t api.Target) []string {
			return []string{t.Name, t.Protocol, strings.Join(t.Addresses, " "), t.Record, t.TLS}
		})
}

func newGrants() *cobra.Command {
	return newList("grants", "who may reach what, for how long",
		[]string{"IDENTITY", "TARGET", "TTL", "APPROVAL"}, (*api.Client).Grants,
		func(g api.Grant) []string {
			ttl := "-"
			if g.TTL > 0 {
				ttl = g.TTL.String()
			}
			return []string{g.Identity, g.Target, ttl, g.Approval}
		})
}

func newKill() *cobra.Command {
	cmd := &cobra.Command{Use: "kill --identity NAME", Short: "end an identity's live sessions", Args: args(cobra.NoArgs)}
	identity := cmd.Flags().String("identity", "", "whose")
	_ = cmd.MarkFlagRequired("identity")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return kill(cmd, api.Kill{Identity: *identity})
	}
	return cmd
}

func kill(cmd *cobra.Command, which api.Kill) error {
	client, err := dial(cmd)
	if err != nil {
		return err
	}
	n, err := client.Kill(cmd.Context(), which)
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("no live session: %w", api.ErrNotFound)
	}
	fmt.Printf("%d ended\n", n)
	return nil
}
