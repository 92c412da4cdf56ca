package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/rules"
)

// shelf is one kind of thing the daemon knows, as its verbs list it and show one.
type shelf[T any] struct {
	use, short string
	header     []string
	get        func(*api.Client, context.Context) ([]T, error)
	row        func(T) []string
}

// verb lists, as does its list; show NAME shows the one whose first column that is.
func (s shelf[T]) verb(kind string) *cobra.Command {
	cmd := s.list(s.use+" [list]", s.short)
	cmd.AddCommand(s.list("list", "list them"))
	if kind != "" {
		cmd.AddCommand(s.show(kind))
	}
	return cmd
}

func (s shelf[T]) list(use, short string) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args(cobra.NoArgs)}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		found, err := s.all(cmd)
		if err != nil {
			return err
		}
		l := listing{Header: s.header, Values: found}
		for _, f := range found {
			l.Rows = append(l.Rows, s.row(f))
		}
		return show(*format, l)
	}
	return cmd
}

func (s shelf[T]) all(cmd *cobra.Command) ([]T, error) {
	client, err := dial(cmd)
	if err != nil {
		return nil, err
	}
	return s.get(client, cmd.Context())
}

func (s shelf[T]) show(kind string) *cobra.Command {
	cmd := &cobra.Command{Use: "show NAME", Short: "everything about one", Args: args(cobra.ExactArgs(1))}
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		found, err := s.all(cmd)
		if err != nil {
			return err
		}
		var known []string
		for _, f := range found {
			row := s.row(f)
			if row[0] == names[0] {
				return s.one(*format, f)
			}
			known = append(known, row[0])
		}
		return nobody(kind, names[0], known)
	}
	return cmd
}

// one prints a thing, a field per line.
func (s shelf[T]) one(format string, f T) error {
	if format != "table" {
		return show(format, listing{Values: f})
	}
	for i, cell := range s.row(f) {
		if cell != "" {
			fmt.Printf("%-10s %s\n", strings.ToLower(s.header[i]), cell)
		}
	}
	return nil
}

// nobody says that the policy has no such name, and which may have been meant.
func nobody(kind, name string, known []string) error {
	return api.Hint(fmt.Errorf("%s %q: %w", kind, name, api.ErrNotFound), rules.DidYouMean(name, known))
}

func newIdentities() *cobra.Command {
	return shelf[api.Identity]{
		"identities", "the identities of the policy, and where they run",
		[]string{"NAME", "OWNER", "PURPOSE", "EXPIRES", "ENROLLED", "FLOWS"}, (*api.Client).Identities,
		func(i api.Identity) []string {
			return []string{i.Name, i.Owner, i.Purpose, expiry(i), strings.Join(i.Enrollments, " "), strconv.Itoa(i.Flows)}
		},
	}.verb("identity")
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
	return shelf[api.Target]{
		"targets", "the targets of the policy",
		[]string{"NAME", "PROTOCOL", "ADDRESSES", "RECORD", "TLS"}, (*api.Client).Targets,
		func(t api.Target) []string {
			return []string{t.Name, t.Protocol, strings.Join(t.Addresses, " "), t.Record, t.TLS}
		},
	}.verb("target")
}

func newGrants() *cobra.Command {
	return shelf[api.Grant]{
		"grants", "who may reach what, for how long",
		[]string{"IDENTITY", "TARGET", "TTL", "APPROVAL"}, (*api.Client).Grants,
		func(g api.Grant) []string {
			ttl := "-"
			if g.TTL > 0 {
				ttl = g.TTL.String()
			}
			return []string{g.Identity, g.Target, ttl, g.Approval}
		},
	}.verb("") // a grant has no name
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
