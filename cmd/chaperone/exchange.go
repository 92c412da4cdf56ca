package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor/postgres"
	"github.com/chaperone-dev/chaperone/pkg/approval"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/pkg/record"
)

// exchange is one request with what came back, as people and programs read it.
type exchange struct {
	At         flow.Span                  `json:"at"` // since the session's start
	Took       flow.Span                  `json:"took"`
	Request    string                     `json:"request"`
	Parameters []postgres.RenderedValue   `json:"parameters,omitempty"`
	Verdict    string                     `json:"verdict,omitempty"` // where it was not a plain allow
	Rule       string                     `json:"rule,omitempty"`
	Ask        string                     `json:"ask,omitempty"`
	Columns    []string                   `json:"columns,omitempty"`
	Rows       [][]postgres.RenderedValue `json:"rows,omitempty"`
	Lines      []string                   `json:"lines,omitempty"`     // rows of a COPY TO, as they were sent
	More       int                        `json:"more,omitempty"`      // rows beyond those
	Continued  bool                       `json:"continued,omitempty"` // the next exchange is the same one, with the rows that follow
	Sent       *content                   `json:"sent,omitempty"`      // with the request
	Headers    []string                   `json:"headers,omitempty"`
	Body       string                     `json:"body,omitempty"`
	Longer     int64                      `json:"longer,omitempty"` // bytes of the body beyond those
	Notices    []string                   `json:"notices,omitempty"`
	Outcome    string                     `json:"outcome,omitempty"` // command tag, status line
	Error      *postgres.RenderedError    `json:"error,omitempty"`
	Omitted    bool                       `json:"omitted,omitempty"`    // the record level left something out
	Unanswered bool                       `json:"unanswered,omitempty"` // the session ended first; outcome is the session's
}

// content is what an HTTP request carried besides its first line, or the rows of a
// COPY FROM. Credentials in headers are not on the tape.
type content struct {
	Lines   []string `json:"lines,omitempty"` // rows of a COPY FROM, as they were sent
	More    int      `json:"more,omitempty"`  // rows beyond those
	Headers []string `json:"headers,omitempty"`
	Body    string   `json:"body,omitempty"`
	Longer  int64    `json:"longer,omitempty"` // bytes of the body beyond those
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
	if err := x.ask(w, rows); err != nil {
		return err
	}
	return x.answer(w, rows)
}

// ask prints what was asked. What comes from the wire is made visible.
func (x exchange) ask(w io.Writer, rows int) error {
	fmt.Fprintf(w, "[%10s] > ", time.Duration(x.At).Round(time.Millisecond))
	for i, line := range approval.Lines(x.Request) {
		if i > 0 {
			fmt.Fprint(w, "               ")
		}
		fmt.Fprintln(w, line)
	}
	if s := x.Sent; s != nil {
		printContent(w, "               ", s.Headers, s.Body, s.Longer)
		printLines(w, "               ", s.Lines, rows, s.More)
	}
	if len(x.Parameters) > 0 {
		fmt.Fprintf(w, "               with %s\n", approval.Visible(strings.Join(texts(x.Parameters), ", ")))
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

// answer prints what came back, as the subagent saw it. All of it is indented: what a server says must
// not look like a request of somebody's.
func (x exchange) answer(w io.Writer, rows int) error {
	var said bytes.Buffer
	if err := x.tell(&said, rows); err != nil {
		return err
	}
	for line := range strings.Lines(said.String()) {
		if _, err := io.WriteString(w, "  "+line); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

func (x exchange) tell(w io.Writer, rows int) error {
	for _, n := range x.Notices {
		fmt.Fprintf(w, "%s\n", approval.Visible(n))
	}
	if len(x.Columns) > 0 {
		if err := x.result(w, rows); err != nil {
			return err
		}
	}
	if len(x.Lines) > 0 {
		printLines(w, "", x.Lines, rows, x.More)
	}
	printContent(w, "", x.Headers, x.Body, x.Longer)
	if e := x.Error; e != nil {
		fmt.Fprintf(w, "ERROR %s:  %s\n", e.Code, approval.Visible(e.Message))
		for _, field := range [][2]string{{"DETAIL", e.Detail}, {"HINT", e.Hint}} {
			if field[1] != "" {
				fmt.Fprintf(w, "%s:  %s\n", field[0], approval.Visible(field[1]))
			}
		}
	}
	_, err := fmt.Fprintln(w, x.ending())
	return err
}

// ending is the last line of an exchange.
func (x exchange) ending() string {
	outcome, took := approval.Visible(x.Outcome), time.Duration(x.Took).Round(time.Microsecond)
	switch {
	case x.Unanswered:
		return fmt.Sprintf("no answer: %s after %s", outcome, took)
	case outcome == "":
		return "no answer"
	}
	return fmt.Sprintf("%s (%s)", outcome, took)
}

// printContent prints headers, and a body behind a blank line.
func printContent(w io.Writer, indent string, headers []string, body string, longer int64) {
	for _, h := range headers {
		fmt.Fprintln(w, indent+approval.Visible(h))
	}
	if body == "" {
		return
	}
	if len(headers) > 0 {
		fmt.Fprintln(w)
	}
	for _, line := range approval.Lines(body) {
		fmt.Fprintln(w, indent+line)
	}
	if longer > 0 {
		fmt.Fprintf(w, "%s… and %d more bytes\n", indent, longer)
	}
}

// printLines prints the rows of a COPY, and says how many there were beyond those.
func printLines(w io.Writer, indent string, lines []string, most, more int) {
	for _, line := range lines[:min(most, len(lines))] {
		fmt.Fprintln(w, indent+approval.Visible(line))
	}
	if left := max(0, len(lines)-most) + more; left > 0 {
		fmt.Fprintf(w, "%s… and %d more rows\n", indent, left)
	}
}

// result prints rows as a table.
func (x exchange) result(w io.Writer, most int) error {
	l := listing{Header: visible(x.Columns)}
	for i, row := range x.Rows {
		if i == most {
			break
		}
		l.Rows = append(l.Rows, visible(texts(row)))
	}
	if err := table(w, l); err != nil {
		return err
	}
	left := len(x.Rows) - len(l.Rows)
	if len(x.Lines) == 0 { // else they are said behind those
		left += x.More
	}
	printLines(w, "", nil, 0, left)
	return nil
}

func texts(row []postgres.RenderedValue) []string {
	shown := make([]string, len(row))
	for i, v := range row {
		shown[i] = v.String()
	}
	return shown
}

func visible(cells []string) []string {
	shown := make([]string, len(cells))
	for i, c := range cells {
		shown[i] = oneLine(c, 80)
	}
	return shown
}
