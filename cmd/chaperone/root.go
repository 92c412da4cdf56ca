package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/config"
	"github.com/chaperone-dev/chaperone/rules"
)

// newRoot lists the verbs. Verbs parse, ask the daemon or the record, and print.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "chaperone",
		Short: "a chaperone beside every subagent",
		Long: "Chaperone turns the connections of enrolled processes to a proxy that knows who they are,\n" +
			"holds risky requests for a person, masks what they must not see, and records what they did.",
		SilenceErrors: true,
		SilenceUsage:  true, // run says what was wrong, and where the usage stands
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true                             // from here on an error is not one of usage,
			if err := cmd.ValidateRequiredFlags(); err != nil { // except this, which cobra would look at later
				return usageError{err}
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	config.CommonFlags(root.PersistentFlags())
	root.AddCommand(
		newDaemon(), newRun(),
		newEnroll(), newUnenroll(),
		newStatus(), newDoctor(),
		newPolicy(),
		newAsks(), newApprove(), newDeny(),
		newGrants(), newIdentities(), newTargets(),
		newSessions(), newKill(),
		newRecord(), newCA(), newCleanup(),
		newVersion(),
		newReader(), newCanary(),
	)
	root.InitDefaultCompletionCmd()
	strict(root)
	return root
}

// strict makes the verbs that only hold others complain of one they do not have,
// which cobra would answer with their help, as if all were well.
func strict(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		strict(sub)
	}
	if cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.Args, cmd.RunE = unknownVerb, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
}

func unknownVerb(cmd *cobra.Command, given []string) error {
	if len(given) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	return api.Hint(usageError{fmt.Errorf("unknown command %q for %q", given[0], cmd.CommandPath())}, rules.DidYouMean(given[0], names))
}

// args wraps an argument check so that its complaint is one of usage, in a verb's own terms.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		err := check(cmd, given)
		switch _, operands, _ := strings.Cut(cmd.Use, " "); {
		case err == nil:
			return nil
		case cmd.HasSubCommands():
			return usageError{err}
		case operands == "":
			return usageError{fmt.Errorf("%s takes no arguments: %q", cmd.CommandPath(), given)}
		case len(given) == 0:
			return usageError{fmt.Errorf("%s takes %s, and got none", cmd.CommandPath(), operands)}
		default:
			return usageError{fmt.Errorf("%s takes %s: %q", cmd.CommandPath(), operands, given)}
		}
	}
}

// belowNothing refuses a count that is none.
func belowNothing(flag string, n int) error {
	if n < 0 {
		return usageError{fmt.Errorf("--%s: %d is below zero", flag, n)}
	}
	return nil
}

// dial loads the configuration and returns a client of the daemon's control socket.
func dial(cmd *cobra.Command) (*api.Client, error) {
	c, err := config.Load(cmd.Flags())
	if err != nil {
		return nil, usageError{err}
	}
	return api.Dial(c.ControlSocket), nil
}
