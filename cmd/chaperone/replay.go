package main

import (
	"github.com/spf13/cobra"
)

func newSessionsShow() *cobra.Command { return &cobra.Command{Use: "show ID"} }
func newSessionsTail() *cobra.Command { return &cobra.Command{Use: "tail ID"} }
func newSessionsReplay() *cobra.Command { return &cobra.Command{Use: "replay ID"} }
func newSessionsExport() *cobra.Command { return &cobra.Command{Use: "export ID"} }
