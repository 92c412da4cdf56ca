package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// listing is what a verb lists: rows for people, values for programs.
type listing struct {
	Header []string
	Rows   [][]string
	Values any // what json and yaml show: the record's names
}

// outputFlag adds -o to a verb that lists.
func outputFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("output", "o", "table", "table, json or yaml")
}

// show prints a listing in the format asked for.
func show(format string, l listing) error {
	if v := reflect.ValueOf(l.Values); v.Kind() == reflect.Slice && v.IsNil() {
		l.Values = []any{} // an empty list, which is not null to who reads it
	}
	switch format {
	case "table":
		return table(os.Stdout, l)
	case "json":
		enc := newJSON(os.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(l.Values)
	case "yaml":
		return asYAML(os.Stdout, l.Values)
	}
	return usageError{fmt.Errorf("unknown output format %q: table, json or yaml", format)}
}

func table(w io.Writer, l listing) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, row := range append([][]string{l.Header}, l.Rows...) {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(tw, "\t")
			}
			fmt.Fprint(tw, cell)
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

// asYAML goes through JSON, so that both formats have the same names.
func asYAML(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return escapedYAML(w, data)
}
