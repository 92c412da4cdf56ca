package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor/postgres"
	"github.com/chaperone-dev/chaperone/pkg/approval"
	"github.com/chaperone-dev/chaperone/pkg/record"
)

// exchange is one request with what came back, as people and programs read it.
type exchange struct {
	At         time.Duration           `json:"at"` // since the session's start
	Took       time.Duration           `json:"took"`
	Request    string                  `json:"request"`
	Parameters []string                `json:"parameters,omitempty"`
	Verdict    string                  `json:"verdict,omitempty"` // where it was not a plain allow
	Rule       string                  `json:"rule,omitempty"`
	Ask        string                  `json:"ask,omitempty"`
	Columns    []string                `json:"columns,omitempty"`
	Rows       [][]string              `json:"rows,omitempty"`
	More       int                     `json:"more,omitempty"` // rows beyond those
	Body       string                  `json:"body,omitempty"`
	Notices    []string                `json:"notices,omitempty"`
	Outcome    string                  `json:"outcome,omitempty"` // command tag, status line
	Error      *postgres.RenderedError `json:"error,omitempty"`
	Omitted    bool                    `json:"omitted,omitempty"` // the record level left something out
}

// How many rows are printed of one result.
const (
	shortRows = 10
	allRows   = 1 << 30
)

func printSession(s record.Session) {
	fmt.Printf("session   %s (%s)\n", s.ID, s.State)
	fmt.Printf("identity  %s\n", s.Identity)
	fmt.Printf("target    %s, %s\n", cmp.Or(s.Target, "-"), s.Protocol)
	if f := s.Flow; f != nil {
		fmt.Printf("process   %d %s (uid %d)\n", f.Process.PID, approval.Visible(f.Process.Exe), f.Process.UID)
		fmt.Printf("command   %s\n", approval.Visible(strings.Join(f.Process.Argv, " ")))
		fmt.Printf("to        %s\n", f.Destination)
	}
	fmt.Printf("start     %s\n", s.Start.Local().Format("2006-01-02 15:04:05.000"))
	if !s.End.IsZero() {
		fmt.Printf("end       %s, %s\n", s.End.Local().Format("2006-01-02 15:04:05.000"), s.Outcome)
	}
	fmt.Println()
}

func (x exchange) print(w io.Writer, rows int) error {
	if err := x.ask(w); err != nil {
		return err
	}
	return x.answer(w, rows)
}

// ask prints what was asked. What comes from the wire is made visible.
func (x exchange) ask(w io.Writer) error {
	fmt.Fprintf(w, "[%10s] > ", x.At.Round(time.Millisecond))
	for i, line := range approval.Lines(x.Request) {
		if i > 0 {
			fmt.Fprint(w, "               ")
		}
		fmt.Fprintln(w, line)
	}
	if len(x.Parameters) > 0 {
		fmt.Fprintf(w, "               with %s\n", approval.Visible(strings.Join(x.Parameters, ", ")))
	}
	if x.Verdict == "" {
		return nil
	}
	text := x.Verdict
	if x.Rule != "" {
		text += " by rule " + x.Rule
	}
	if x.Ask != "" {
		text += ", ask " + x.Ask
	}
	_, err := fmt.Fprintf(w, "               %s\n", text)
	return err
}

// answer prints what came back, as the subagent saw it.
func (x exchange) answer(w io.Writer, rows int) error {
	for _, n := range x.Notices {
		fmt.Fprintf(w, "%s\n", approval.Visible(n))
	}
	if len(x.Columns) > 0 {
		if err := x.result(w, rows); err != nil {
			return err
		}
	}
	if x.Body != "" {
		for _, line := range approval.Lines(x.Body) {
			fmt.Fprintln(w, line)
		}
	}
	if e := x.Error; e != nil {
		fmt.Fprintf(w, "ERROR %s:  %s\n", e.Code, approval.Visible(e.Message))
		for _, field := range [][2]string{{"DETAIL", e.Detail}, {"HINT", e.Hint}} {
			if field[1] != "" {
				fmt.Fprintf(w, "%s:  %s\n", field[0], approval.Visible(field[1]))
			}
		}
	}
	_, err := fmt.Fprintf(w, "%s (%s)\n\n", cmp.Or(approval.Visible(x.Outcome), "no answer"), x.Took.Round(time.Microsecond))
	return err
}

// result prints rows as a table.
func (x exchange) result(w io.Writer, most int) error {
	l := listing{Header: visible(x.Columns)}
	for i, row := range x.Rows {
		if i == most {
			break
		}
		l.Rows = append(l.Rows, visible(row))
	}
	if err := table(w, l); err != nil {
		return err
	}
	if left := len(x.Rows) - len(l.Rows) + x.More; left > 0 {
		fmt.Fprintf(w, "… and %d more rows\n", left)
	}
	return nil
}

func visible(cells []string) []string {
	shown := make([]string, len(cells))
	for i, c := range cells {
		shown[i] = oneLine(c, 80)
	}
	return shown
}
