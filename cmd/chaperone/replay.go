package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/chaperone-dev/chaperone/pkg/api"
	"github.com/chaperone-dev/chaperone/pkg/record"
)

// sessionVerb makes a verb that reads one session's tape.
func sessionVerb(use, short string, flags func(*cobra.Command) func(context.Context, *record.Reader, record.Session) error) *cobra.Command {
	cmd := &cobra.Command{Use: use + " ID", Short: short, Args: args(cobra.ExactArgs(1))}
	do := flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		r, err := openRecord(cmd)
		if err != nil {
			return err
		}
		s, err := findSession(r, ids[0])
		if err != nil {
			return err
		}
		if s.Pruned {
			return fmt.Errorf("the tape of session %s was pruned: %w", s.ID, api.ErrNotFound)
		}
		return do(cmd.Context(), r, s)
	}
	return cmd
}

func newSessionsShow() *cobra.Command {
	return sessionVerb("show", "who, where to, and every request with its outcome", func(cmd *cobra.Command) func(context.Context, *record.Reader, record.Session) error {
		format := outputFlag(cmd)
		return func(ctx context.Context, r *record.Reader, s record.Session) error {
			var list []exchange
			err := play(ctx, r, s, playing{}, func(x exchange) error {
				list = append(list, x)
				return nil
			})
			if err != nil {
				return err
			}
			if *format != "table" {
				return show(*format, listing{Values: map[string]any{"session": s, "requests": list}})
			}
			printSession(s)
			for _, x := range list {
				x.print(os.Stdout, shortRows)
			}
			return nil
		}
	})
}

func newSessionsTail() *cobra.Command {
	return sessionVerb("tail", "follow a live session", func(*cobra.Command) func(context.Context, *record.Reader, record.Session) error {
		return func(ctx context.Context, r *record.Reader, s record.Session) error {
			printSession(s)
			return play(ctx, r, s, playing{follow: true}, func(x exchange) error { return x.print(os.Stdout, shortRows) })
		}
	})
}

// longestPause bounds, in a replay, a pause in which nothing happened.
const longestPause = 2 * time.Second

func newSessionsReplay() *cobra.Command {
	return sessionVerb("replay", "show statements and results at the pace they had", func(cmd *cobra.Command) func(context.Context, *record.Reader, record.Session) error {
		fast := cmd.Flags().Bool("fast", false, "without the pauses")
		whole := cmd.Flags().Bool("real-time", false, "with pauses of any length")
		return func(ctx context.Context, r *record.Reader, s record.Session) error {
			printSession(s)
			pace := pacer{fast: *fast, limit: longestPause}
			if *whole {
				pace.limit = 0
			}
			return play(ctx, r, s, playing{}, func(x exchange) error {
				if err := pace.until(ctx, time.Duration(x.At)); err != nil {
					return err
				}
				if err := x.ask(os.Stdout, allRows); err != nil {
					return err
				}
				if err := pace.until(ctx, time.Duration(x.At+x.Took)); err != nil {
					return err
				}
				return x.answer(os.Stdout, allRows)
			})
		}
	})
}

// pacer waits as long as the recorded session took.
type pacer struct {
	fast  bool
	limit time.Duration // of one pause; 0: none
	at    time.Duration
}

func (p *pacer) until(ctx context.Context, at time.Duration) error {
	pause := at - p.at
	p.at = max(p.at, at)
	if p.limit > 0 {
		pause = min(pause, p.limit)
	}
	if p.fast || pause <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func newSessionsExport() *cobra.Command {
	return sessionVerb("export", "write a session for other tools", func(cmd *cobra.Command) func(context.Context, *record.Reader, record.Session) error {
		format := cmd.Flags().String("format", "ndjson", "ndjson (one request a line) or asciicast (v2, for terminal players)")
		return func(ctx context.Context, r *record.Reader, s record.Session) error {
			switch *format {
			case "ndjson":
				out := newJSON(os.Stdout)
				return play(ctx, r, s, playing{split: true}, func(x exchange) error { return out.Encode(x) })
			case "asciicast":
				return asciicast(ctx, r, s, os.Stdout)
			}
			return usageError{fmt.Errorf("unknown export format %q: ndjson or asciicast", *format)}
		}
	})
}

// asciicast writes a replay in asciicast v2: a header, then [seconds, "o", text].
func asciicast(ctx context.Context, r *record.Reader, s record.Session, w io.Writer) error {
	out := newJSON(w)
	header := map[string]any{"version": 2, "width": 120, "height": 40, "timestamp": s.Start.Unix(), "title": "chaperone session " + s.ID}
	if err := out.Encode(header); err != nil {
		return err
	}
	return play(ctx, r, s, playing{}, func(x exchange) error {
		var ask, answer terminal
		x.ask(&ask, allRows)
		x.answer(&answer, allRows)
		return errors.Join(
			out.Encode([]any{time.Duration(x.At).Seconds(), "o", string(ask)}),
			out.Encode([]any{time.Duration(x.At + x.Took).Seconds(), "o", string(answer)}))
	})
}

// terminal collects text as a terminal wants it: lines end with a return.
type terminal []byte

func (t *terminal) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\n' {
			*t = append(*t, '\r')
		}
		*t = append(*t, b)
	}
	return len(p), nil
}

// tailEvery is how often a live tape is looked at.
const tailEvery = 200 * time.Millisecond

// playing says how a tape is read.
type playing struct {
	follow bool // a live session until it ends
	split  bool // long results in pieces: nothing is left out
}

// play reads a session's tape and gives each exchange as it is complete.
func play(ctx context.Context, r *record.Reader, s record.Session, how playing, each func(exchange) error) error {
	tape, err := r.Tape(s)
	if err != nil {
		return err
	}
	defer tape.Close()
	p := newProjector(s.Protocol, tape.Start, how.split)
	for {
		e, err := tape.Next()
		switch {
		case errors.Is(err, io.EOF) && how.follow && !p.over():
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(tailEvery):
				continue
			}
		case errors.Is(err, io.EOF):
			return all(p.end(), each)
		case err != nil:
			return errors.Join(all(p.end(), each), fmt.Errorf("session %s: %w", s.ID, err))
		}
		found, err := p.add(e)
		if err != nil {
			return err
		}
		if err := all(found, each); err != nil {
			return err
		}
	}
}

func all(list []exchange, each func(exchange) error) error {
	for _, x := range list {
		if err := each(x); err != nil {
			return err
		}
	}
	return nil
}
