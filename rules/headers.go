package rules

import (
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// headers finds a header whatever the case of its name; one that is absent is an empty list.
type headers map[string][]string

type headerMap struct{ traits.Mapper }

// Find implements traits.Mapper.
func (h headerMap) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	if v, found := h.Mapper.Find(types.String(strings.ToLower(string(name)))); found {
		return v, true
	}
	return types.NewStringList(types.DefaultTypeAdapter, nil), true
}

// Get implements traits.Indexer.
func (h headerMap) Get(key ref.Val) ref.Val {
	v, ok := h.Find(key)
	if !ok {
		return types.NewErr("a header name is text")
	}
	return v
}

// Contains implements traits.Container.
func (h headerMap) Contains(key ref.Val) ref.Val {
	name, ok := key.(types.String)
	if !ok {
		return types.False
	}
	return h.Mapper.Contains(types.String(strings.ToLower(string(name))))
}

// lowerKeys makes headers of one line each.
func lowerKeys(lines map[string]string) map[string][]string {
	all := map[string][]string{}
	for name, value := range lines {
		name = strings.ToLower(name)
		all[name] = append(all[name], value)
	}
	return all
}
