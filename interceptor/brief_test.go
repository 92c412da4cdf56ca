package interceptor

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// logged keeps the last event.
type logged struct{ flow.Event }

func (l *logged) Log(ev flow.Event) error {
	l.Event = ev
	return nil
}

func TestLogHasTheBeginningOfALongRequest(t *testing.T) {
	policy, err := rules.Parse([]rules.File{{Name: "test.yaml", Data: []byte(strings.Replace(askingPolicy, "verdict: hold, timeout: 1m, approvers: [dba]", "verdict: deny", 1))}}, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	long := "ask " + strings.Repeat("é", 100<<10)
	req := &flow.Request{
		Kind: flow.KindHTTP, Text: long, HTTP: &flow.HTTP{Path: long, Query: long}, Parameters: []string{long},
		Effects: make([]flow.Effect, 5000),
	}
	journal := &logged{}
	s := &Session{
		ID: "s", Flow: &flow.Flow{Identity: "bot", Target: "db"}, Target: &rules.Target{Name: "db"},
		Meter: quiet{}, Log: slog.New(slog.DiscardHandler), policy: func() *rules.Policy { return policy }, journal: journal,
	}
	for name, log := range map[string]func() error{
		"a denial": func() error {
			s.judge(t.Context(), func(context.Context) (*flow.Request, error) { return req, nil }, nil)
			return nil
		},
		"an engine's refusal": func() error { return s.Refused(req, "(masks)", "why") },
	} {
		journal.Event = flow.Event{}
		if err := log(); err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(journal.Event)
		if err != nil || journal.Request == nil {
			t.Fatalf("%s: no request is logged (%v)", name, err)
		}
		if len(body) > 8<<10 {
			t.Errorf("%s takes %d bytes of the log", name, len(body))
		}
		if !utf8.Valid(body) || !strings.HasPrefix(journal.Request.Text, "ask é") || !strings.Contains(journal.Request.Text, "bytes, the tape has all") {
			t.Errorf("%s: the log has %.60q", name, journal.Request.Text)
		}
	}
	if req.Text != long || len(req.Effects) != 5000 || req.HTTP.Path != long {
		t.Error("the request itself was cut")
	}
}
