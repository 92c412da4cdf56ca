package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// gist collects what a line can say of an event.
type gist []string

func gistOf(ev flow.Event) gist {
	var g gist
	act, _ := ev.Result["act"].(string)
	g.add("act", act)
	g.add("identity", ev.Identity)
	g.add("target", ev.Target)
	g.add("session", ev.Session)
	if ev.Verdict != nil {
		g.add("verdict", string(ev.Verdict.Verdict))
		g.add("rule", ev.Verdict.Rule)
		g.add("reason", ev.Verdict.Reason)
	}
	if ev.Ask != nil {
		g.add("ask", ev.Ask.ID)
		g.add("state", ev.Ask.State)
		g.add("scope", ev.Ask.Scope)
		g.add("by", ev.Ask.By)
		g.add("why", ev.Ask.Reason)
	}
	if ev.Request != nil {
		g.add("request", ev.Request.Text)
	}
	g.about(ev)
	for _, name := range []string{"why", "outcome", "cgroup", "by", "refused", "complaint"} {
		text, _ := ev.Result[name].(string)
		g.add(name, text)
	}
	return g
}

func (g *gist) add(name, value string) {
	if value != "" {
		*g = append(*g, name+"="+oneLine(value, 100))
	}
}

// about says what an administrative act was done to, less what the envelope says.
func (g *gist) about(ev flow.Event) {
	about, _ := ev.Result["about"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(about)) {
		if value := fmt.Sprint(about[name]); value != ev.Identity && value != ev.Session {
			g.add(name, value)
		}
	}
}
