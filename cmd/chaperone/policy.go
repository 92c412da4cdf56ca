package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/config"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
	"github.com/chaperone-dev/chaperone/rules"
)

func newPolicy() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "check, test and explain a policy"}
	cmd.AddCommand(newPolicyCheck(), newPolicyTest(), newPolicyExplain(), newPolicyReload())
	return cmd
}

// offlineKey stands in for the host's masking secret where nothing is masked:
// checking and explaining.
var offlineKey = []byte("checking-only-no-masking")

// loadPolicy reads the policy named by an argument, or the configured one. Without
// certificates the files that targets name are not looked at: they are the host's.
func loadPolicy(cmd *cobra.Command, given []string, certificates func(string) error) (*rules.Policy, string, error) {
	c, err := config.Load(cmd.Flags())
	if err != nil {
		return nil, "", usageError{err}
	}
	path := c.Policy
	if len(given) == 1 {
		path = given[0]
	}
	files, err := readPolicy(path)
	if err != nil {
		return nil, path, err
	}
	p, err := rules.Parse(files, rules.Options{Generation: 1, Key: offlineKey, Certificates: certificates})
	return p, path, err
}

func newPolicyCheck() *cobra.Command {
	return &cobra.Command{
		Use: "check [FILE|DIR]", Short: "read a policy as the daemon would", Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			p, path, err := loadPolicy(cmd, given, bundle)
			if err != nil {
				return err
			}
			fmt.Printf("%s: %d identities, %d targets: in order\n", path, len(p.Identities()), len(p.Targets()))
			return nil
		},
	}
}

func newPolicyReload() *cobra.Command {
	return &cobra.Command{
		Use: "reload", Short: "make the daemon read its policy again", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := dial(cmd)
			if err != nil {
				return err
			}
			s, err := client.Reload(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Printf("%s: generation %d\n", s.Source, s.Generation)
			return nil
		},
	}
}

func newPolicyTest() *cobra.Command {
	return &cobra.Command{
		Use: "test [FILE|DIR]", Short: "run the *.test.yaml beside a policy", Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			p, path, err := loadPolicy(cmd, given, nil)
			if err != nil {
				return err
			}
			fixtures, err := readFixtures(path)
			if err != nil {
				return err
			}
			failed, ran := 0, 0
			for _, f := range fixtures {
				for _, r := range rules.Test(p, f, effectsOf, time.Now()) {
					ran++
					if !r.Passed() {
						failed++
					}
					printResult(r)
				}
			}
			fmt.Printf("%d passed, %d failed\n", ran-failed, failed)
			if failed > 0 {
				return exitCode(exitFailed)
			}
			return nil
		},
	}
}

func printResult(r rules.Result) {
	if r.Passed() {
		fmt.Printf("ok    %s\n", r.Name)
		return
	}
	fmt.Printf("FAIL  %s (%s)\n", r.Name, r.Place)
	for _, wrong := range r.Wrong {
		fmt.Printf("      %s\n", wrong)
	}
}

// readFixtures reads the tests beside a policy.
func readFixtures(path string) ([]*rules.Fixture, error) {
	dir := path
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		dir = filepath.Dir(path)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.test.y*ml"))
	if err != nil {
		return nil, err
	}
	var fixtures []*rules.Fixture
	for _, name := range names {
		file, err := readRegular(name)
		if err != nil {
			return nil, err
		}
		f, err := rules.ParseFixture(file)
		if err != nil {
			return nil, err
		}
		fixtures = append(fixtures, f)
	}
	if len(fixtures) == 0 {
		return nil, api.Hint(fmt.Errorf("no *.test.yaml in %s: %w", dir, api.ErrNotFound), "write tests beside the policy; see docs/policy.md")
	}
	return fixtures, nil
}

// effectsOf reads a statement in this process: a fixture is no stranger's.
func effectsOf(text string) ([]flow.Effect, error) { return sqlread.Read(text).Effects(), nil }

func newPolicyExplain() *cobra.Command {
	cmd := &cobra.Command{
		Use: "explain STATEMENT", Short: "which rule and masks a request would meet", Args: args(cobra.ExactArgs(1)),
		Example: "  chaperone policy explain --identity billing-bot --target orders 'DROP TABLE users'",
	}
	format := outputFlag(cmd)
	identity := cmd.Flags().String("identity", "", "who asks")
	target := cmd.Flags().String("target", "", "of what")
	_ = cmd.MarkFlagRequired("identity")
	_ = cmd.MarkFlagRequired("target")
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		p, _, err := loadPolicy(cmd, nil, nil)
		if err != nil {
			return err
		}
		in, err := question(p, *identity, *target, given[0])
		if err != nil {
			return err
		}
		e := p.Explain(in)
		if *format != "table" {
			return show(*format, listing{Values: e})
		}
		printExplanation(e)
		return nil
	}
	return cmd
}

func question(p *rules.Policy, identity, target, text string) (rules.Input, error) {
	who, ok := p.Identity(identity)
	if !ok {
		return rules.Input{}, fmt.Errorf("identity %q: %w", identity, api.ErrNotFound)
	}
	what, ok := p.TargetNamed(target)
	if !ok {
		return rules.Input{}, fmt.Errorf("target %q: %w", target, api.ErrNotFound)
	}
	if what.Protocol != "postgres" {
		return rules.Input{}, errors.New("explain understands statements for postgres targets; test others with a fixture")
	}
	effects, err := effectsOf(text)
	if err != nil {
		return rules.Input{}, err
	}
	r := &flow.Request{Protocol: what.Protocol, Kind: flow.KindQuery, Text: text, Effects: effects}
	return rules.Input{Identity: &who, Target: what, Flow: &flow.Flow{Identity: identity, Target: target}, Request: r, Now: time.Now()}, nil
}

func printExplanation(e rules.Explanation) {
	fmt.Printf("verdict   %s", e.Verdict)
	if e.Rule != "" {
		fmt.Printf(" (rule %s)", e.Rule)
	}
	fmt.Printf("\ngrant     %s\n", e.Grant)
	if e.Message != "" {
		fmt.Printf("says      %s\n", e.Message)
	}
	for _, f := range e.Effects {
		fmt.Printf("effect    %s %s bounded=%v\n", f.Action, f.Object, f.Bounded)
	}
	for _, r := range e.Rules {
		fmt.Printf("rule      %-24s %s: %s\n", r.Rule, r.Place, r.Outcome)
	}
	for _, m := range e.Masks {
		all := append(append(append(m.Columns, m.Headers...), m.JSON...), m.Detect...)
		fmt.Printf("mask      %s with %s: %s\n", m.Mask, m.With, strings.Join(all, ", "))
	}
}
