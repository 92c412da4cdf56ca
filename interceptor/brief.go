package interceptor

import (
	"fmt"
	"strings"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// Bounds of what the host's log repeats of a request: its tape has all of it, and the log should not
// grow by what a subagent says that is refused over and over.
const (
	maxLoggedText    = 1 << 10 // bytes of each text
	maxLoggedEffects = 32
)

// brief is a request as the host's log has it; nil stays nil.
func brief(req *flow.Request) *flow.Request {
	if req == nil {
		return nil
	}
	short := *req
	short.Text = begins(req.Text)
	short.Parameters = nil // of a run that was asked about: the ask has them
	if req.HTTP != nil {
		h := *req.HTTP
		h.Path, h.Query = begins(h.Path), begins(h.Query)
		short.HTTP = &h
	}
	if more := len(req.Effects) - maxLoggedEffects; more > 0 {
		rest := flow.Effect{Action: flow.Unknown, Via: fmt.Sprintf("%d more, on the tape", more)}
		short.Effects = append(append([]flow.Effect(nil), req.Effects[:maxLoggedEffects]...), rest)
	}
	return &short
}

// begins is a text, or how it begins where it is long.
func begins(text string) string {
	if len(text) <= maxLoggedText {
		return text
	}
	return fmt.Sprintf("%s… (%d bytes, the tape has all)", strings.ToValidUTF8(text[:maxLoggedText], ""), len(text))
}
