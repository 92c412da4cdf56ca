package rules

import (
	"testing"

	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// BenchmarkWorst is what one statement can cost at most: just under the size
// that runs without a cost limit, and far above it.
func BenchmarkWorst(b *testing.B) {
	for name, n := range map[string]int{"quick": largeList, "bounded": 20_000} {
		b.Run(name, func(b *testing.B) {
			p := law(b, `when: 'request.effects.exists(a, request.effects.exists(b, a.object != b.object && a.object.matches("^(x+x+)+y")))', verdict: deny`)
			r := flow.Request{Effects: make([]flow.Effect, n)}
			for i := range r.Effects {
				r.Effects[i] = flow.Effect{Action: flow.Read, Object: "public.users"}
			}
			in := input(b, p, r)
			b.ReportAllocs()
			for b.Loop() {
				p.Decide(in)
			}
		})
	}
}
