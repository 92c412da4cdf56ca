package rules

import (
	"cel.dev/cel-go/cel"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// scene is one request with all a condition can look at: CEL's activation.
type scene struct {
	in      *Input
	request asked
	large   bool // beyond what is evaluated without a cost limit
	doubt   bool // some effect is unknown
}

// What a request may have before conditions on it run under a cost limit.
const (
	largeList = 64       // effects, arguments, ancestors, headers, columns of an effect
	largeText = 64 << 10 // bytes of statement
)

func newScene(in *Input) *scene {
	s := &scene{in: in, request: asked{Request: in.Request}}
	s.request.list.list = in.Request.Effects
	if len(in.Request.Effects) == 0 {
		s.request.list.list = mute[in.Request.Kind]
	}
	s.large = len(in.Request.Effects) > largeList || len(in.Request.Text) > largeText
	for i := range s.request.list.list {
		e := &s.request.list.list[i]
		s.large = s.large || len(e.Columns) > largeList
		s.doubt = s.doubt || unknown(e.Action)
	}
	if h := in.Request.HTTP; h != nil {
		s.large = s.large || len(h.Headers) > largeList || len(h.Path)+len(h.Query) > largeText
		for _, values := range h.Headers {
			s.large = s.large || len(values) > largeList
		}
	}
	if f := in.Flow; f != nil {
		s.large = s.large || len(f.Process.Argv) > largeList || len(f.Process.Ancestors) > largeList
	}
	return s
}

// mute are the effects of requests that carry no text to read them from.
var mute = map[string][]flow.Effect{
	flow.KindFunctionCall: {{Action: flow.Execute}, {Action: flow.Unknown, Via: "function"}},
	flow.KindReplication:  {{Action: flow.Replicate}},
}

// ResolveName implements cel.Activation.
func (s *scene) ResolveName(name string) (any, bool) {
	switch name {
	case "request":
		return &s.request, true
	case "identity":
		return s.in.Identity, true
	case "target":
		return s.in.Target, true
	case "flow":
		return s.in.Flow, true
	case "process":
		if s.in.Flow == nil {
			return (*flow.Process)(nil), true
		}
		return &s.in.Flow.Process, true
	case "now":
		return s.in.Now, true
	}
	return nil, false
}

// Parent implements cel.Activation.
func (s *scene) Parent() cel.Activation { return nil }
