package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/enroll"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// Verbs this binary runs itself with, in a child.
const (
	readerVerb = "sql-reader"
	canaryVerb = "canary"
)

// newReader reads statements in a confined process.
func newReader() *cobra.Command {
	return &cobra.Command{
		Use: readerVerb, Hidden: true, Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return sqlread.Serve(os.Stdin, os.Stdout) },
	}
}

// newCanary joins an enrolled cgroup and connects from there.
func newCanary() *cobra.Command {
	return &cobra.Command{
		Use: canaryVerb, Hidden: true, Args: args(cobra.ExactArgs(3)),
		RunE: func(_ *cobra.Command, given []string) error { return enroll.Sing(given[0], given[1], given[2]) },
	}
}
