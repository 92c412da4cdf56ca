package rules

import "cel.dev/cel-go/common/types"

// truth is a condition's value: what is unknown is not false.
type truth uint8

const (
	no truth = iota
	yes
	maybe  // it depends on what is not known of the request
	broken // it failed, or cost too much
)

// holds evaluates the condition. scene is reused between rules.
func (c *condition) holds(s *scene) truth {
	switch c.constant {
	case always:
		return yes
	case never:
		return no
	}
	program := c.quick
	if s.large || c.traits.depth > 2 {
		program = c.bounded
	}
	v, _, err := program.Eval(s)
	if err != nil {
		return broken
	}
	switch v {
	case types.True:
		return yes
	case types.False:
		return no
	}
	if types.IsUnknown(v) {
		return maybe
	}
	return broken
}
