package main

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/record"
)

func newSessions() *cobra.Command {
	cmd := &cobra.Command{Use: "sessions [list]", Short: "what was recorded of each flow", Args: args(cobra.NoArgs)}
	listSessions(cmd)
	list := &cobra.Command{Use: "list", Short: "list the sessions", Args: args(cobra.NoArgs)}
	listSessions(list)
	cmd.AddCommand(list, newSessionsShow(), newSessionsTail(), newSessionsReplay(), newSessionsExport(), newSessionsKill())
	return cmd
}

// listSessions makes cmd the verb that lists the sessions of the record.
func listSessions(cmd *cobra.Command) {
	format := outputFlag(cmd)
	identity := cmd.Flags().String("identity", "", "of this identity only")
	limit := cmd.Flags().IntP("limit", "n", 50, "the last so many (0: all)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := belowNothing("limit", *limit); err != nil {
			return err
		}
		r, err := openRecord(cmd)
		if err != nil {
			return err
		}
		all, damage := r.Sessions()
		var found []record.Session
		for _, s := range all {
			if *identity == "" || s.Identity == *identity {
				found = append(found, s)
			}
		}
		if *limit > 0 && len(found) > *limit {
			found = found[len(found)-*limit:]
		}
		l := listing{Header: []string{"SESSION", "IDENTITY", "TARGET", "START", "TOOK", "STATE", "OUTCOME", "REQUESTS", "TAPE"}, Values: found}
		for _, s := range found {
			outcome, _, _ := strings.Cut(s.Outcome, ":") // the reason is for show
			l.Rows = append(l.Rows, []string{
				s.ID, s.Identity, cmp.Or(s.Target, "-"), s.Start.Local().Format(time.DateTime), took(s),
				string(s.State), cmp.Or(outcome, "-"), strconv.FormatUint(s.Requests, 10), strconv.FormatInt(s.Size, 10),
			})
		}
		return errors.Join(show(*format, l), damage)
	}
}

func took(s record.Session) string {
	if s.End.IsZero() {
		return "-"
	}
	return s.End.Sub(s.Start).Round(time.Millisecond).String()
}

// findSession finds a session by its id, or by the beginning of one that only it has.
func findSession(r *record.Reader, id string) (record.Session, error) {
	all, _ := r.Sessions() // damage elsewhere does not keep this session from being read
	var found []record.Session
	for _, s := range all {
		if s.ID == id {
			return s, nil
		}
		if len(id) >= 4 && len(s.ID) > len(id) && s.ID[:len(id)] == id {
			found = append(found, s)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return record.Session{}, fmt.Errorf("%d sessions begin with %q: %w", len(found), id, api.ErrInvalid)
	}
	return record.Session{}, api.Hint(fmt.Errorf("session %q: %w", id, api.ErrNotFound), "chaperone sessions list")
}

func newSessionsKill() *cobra.Command {
	return &cobra.Command{
		Use: "kill ID", Short: "end a live session", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error { return kill(cmd, api.Kill{Session: ids[0]}) },
	}
}
