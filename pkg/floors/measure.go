package floors

import (
	"fmt"
	"go/ast"
	"slices"
)

// Size is how long one thing is, in lines.
type Size struct {
	Name  string // "rules/policy.go" or "rules/policy.go:Decide"
	Lines int
}

// FileSizes measures files, tests and generated ones excepted, longest last.
func (h *House) FileSizes() []Size {
	var sizes []Size
	for _, f := range h.Files {
		if !f.Test && !f.Generated {
			sizes = append(sizes, Size{f.Path, f.Lines})
		}
	}
	return sorted(sizes)
}

// FunctionSizes measures functions from the word func to the closing brace,
// tests and generated files excepted, longest last.
func (h *House) FunctionSizes() []Size {
	var sizes []Size
	for _, f := range h.Files {
		if f.Test || f.Generated {
			continue
		}
		for _, decl := range f.tree.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil {
				lines := h.fset.Position(fn.End()).Line - h.fset.Position(fn.Pos()).Line + 1
				sizes = append(sizes, Size{f.Path + ":" + fn.Name.Name, lines})
			}
		}
	}
	return sorted(sizes)
}

func sorted(sizes []Size) []Size {
	slices.SortFunc(sizes, func(a, b Size) int { return a.Lines - b.Lines })
	return sizes
}

// Percentile is the length that p percent of the sizes do not exceed. sizes is sorted.
func Percentile(sizes []Size, p int) int {
	if len(sizes) == 0 {
		return 0
	}
	return sizes[min(len(sizes)*p/100, len(sizes)-1)].Lines
}

// Limit is how long things may be.
type Limit struct {
	Median, P90, Longest int
	// Excused may be longer than Longest: name to reason.
	Excused map[string]string
}

// Check compares sizes, sorted, to their limit.
func (l Limit) Check(what string, sizes []Size) []Breach {
	var breaches []Breach
	if got := Percentile(sizes, 50); got > l.Median {
		breaches = append(breaches, Breach(fmt.Sprintf("%s: the median has %d lines, over %d", what, got, l.Median)))
	}
	if got := Percentile(sizes, 90); got > l.P90 {
		breaches = append(breaches, Breach(fmt.Sprintf("%s: 90 percent have up to %d lines, over %d", what, got, l.P90)))
	}
	for _, s := range sizes {
		if s.Lines > l.Longest && l.Excused[s.Name] == "" {
			breaches = append(breaches, Breach(fmt.Sprintf("%s: %s has %d lines, over %d", what, s.Name, s.Lines, l.Longest)))
		}
	}
	return breaches
}
