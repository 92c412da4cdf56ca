package main

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/approval"
	"github.com/chaperone-dev/chaperone/pkg/leaks"
)

func TestMain(m *testing.M) { os.Exit(leaks.Run(m)) }

func TestExitCodesAreThoseOfTheContract(t *testing.T) {
	begun := &cobra.Command{SilenceUsage: true}
	for name, test := range map[string]struct {
		cmd  *cobra.Command
		err  error
		want int
	}{
		"anything":           {begun, errors.New("disk on fire"), exitFailed},
		"before it ran":      {&cobra.Command{}, errors.New("unknown command"), exitUsage},
		"usage":              {begun, usageError{errors.New("no such flag")}, exitUsage},
		"invalid request":    {begun, fmt.Errorf("x: %w", api.ErrInvalid), exitUsage},
		"refused":            {begun, api.Hint(fmt.Errorf("x: %w", api.ErrRefused), "ask"), exitRefused},
		"refused, by wire":   {begun, &api.Error{Code: "refused"}, exitRefused},
		"own request":        {begun, &api.Error{Code: "refused", Message: approval.ErrOwnRequest.Error()}, exitRefused},
		"not found":          {begun, fmt.Errorf("x: %w", api.ErrNotFound), exitNotFound},
		"not found, by wire": {begun, &api.Error{Code: "not_found"}, exitNotFound},
		"invalid, by wire":   {begun, &api.Error{Code: "invalid"}, exitUsage},
		"too late":           {begun, &api.Error{Code: "conflict"}, exitFailed},
		"no daemon":          {begun, api.ErrNotRunning, exitFailed},
	} {
		if got := codeFor(test.cmd, test.err); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestAVerbThatIsNoneIsAMatterOfUsage(t *testing.T) {
	for _, given := range [][]string{
		{"policy", "sugest"}, {"policy", "frob"}, {"ca", "frob"}, {"record", "frob"}, {"completion", "bsh"},
		{"asks", "frob"}, {"sessions", "frob"}, {"grants", "request"}, {"identities", "show"}, {"targets", "frob"}, {"frob"},
	} {
		root := newRoot()
		root.SetArgs(given)
		cmd, err := root.ExecuteC()
		if err == nil || codeFor(cmd, err) != exitUsage {
			t.Errorf("%v: %v", given, err)
		}
	}
}

func TestEveryVerbExplainsItself(t *testing.T) {
	var look func(*cobra.Command)
	look = func(c *cobra.Command) {
		if c.Short == "" && !c.Hidden {
			t.Errorf("%s says nothing of itself", c.CommandPath())
		}
		if c.Runnable() && c.Args == nil && !c.Hidden {
			t.Errorf("%s takes whatever it is given", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			look(sub)
		}
	}
	look(newRoot())
}
