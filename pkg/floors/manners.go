package floors

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
)

// vague are names that say nothing about what is in a package.
var vague = []string{"util", "utils", "common", "helper", "helpers", "manager", "base", "misc"}

// makers are the calls that may stand behind a package-level variable: they
// make something that nobody changes afterwards.
var makers = []string{"errors.New", "fmt.Errorf", "regexp.MustCompile", "netip.MustParseAddr", "netip.MustParsePrefix",
	"netip.MustParseAddrPort", "netip.AddrFrom4", "netip.AddrFrom16", "netip.AddrPortFrom", "strings.NewReplacer",
	"crc32.MakeTable", "types.NewObjectType", "types.NewListType",
	"base32.NewEncoding", "base64.NewEncoding"}

// Manners reports init functions, package-level variables that are neither lists nor
// sentinels, an else after a return, vague package names and missing package
// comments. Tests and generated files may do as they like.
func (h *House) Manners() []Breach {
	var breaches []Breach
	spoken := map[string]bool{} // folder: has a package comment
	for _, f := range h.Files {
		if f.Test || f.Generated {
			continue
		}
		spoken[f.Package] = spoken[f.Package] || f.tree.Doc != nil
		breaches = append(breaches, h.variables(f)...)
		breaches = append(breaches, h.functions(f)...)
		if slices.Contains(vague, path.Base(f.Package)) {
			breaches = append(breaches, Breach(f.Path+": a package is named for what it is, not "+path.Base(f.Package)))
		}
	}
	for folder, has := range spoken {
		if !has {
			breaches = append(breaches, Breach(folder+": no package comment"))
		}
	}
	slices.Sort(breaches)
	return breaches
}

// variables looks at f's package-level variables.
func (h *House) variables(f File) []Breach {
	var breaches []Breach
	for _, decl := range f.tree.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.VAR {
			continue
		}
		for _, spec := range group.Specs {
			value := spec.(*ast.ValueSpec)
			if !h.constant(f, group, value) {
				breaches = append(breaches, h.at(f, value, "package-level variable "+value.Names[0].Name+" is neither a list nor a sentinel"))
			}
		}
	}
	return breaches
}

// constant says that a variable is a list, a sentinel, an embedded file, an
// assertion (var _ X = y) or the version the linker stamps.
func (h *House) constant(f File, group *ast.GenDecl, v *ast.ValueSpec) bool {
	if v.Names[0].Name == "_" || embedded(group.Doc) || embedded(v.Doc) {
		return true
	}
	if v.Names[0].Name == "version" && inside("cmd", f.Package) {
		return true
	}
	for _, value := range v.Values {
		if !fixed(value) {
			return false
		}
	}
	return len(v.Values) > 0
}

// fixed says that an expression makes something nobody changes.
func fixed(value ast.Expr) bool {
	switch e := value.(type) {
	case *ast.CompositeLit:
		return true
	case *ast.CallExpr:
		if _, conversion := e.Fun.(*ast.ArrayType); conversion {
			return true // []byte("...")
		}
		if chain, ok := e.Fun.(*ast.SelectorExpr); ok {
			if _, chained := chain.X.(*ast.CallExpr); chained {
				return fixed(chain.X) // base32.NewEncoding("...").WithPadding(...)
			}
		}
		return slices.Contains(makers, spelled(e.Fun))
	}
	return false
}

// spelled is an expression like errors.New as text.
func spelled(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return spelled(e.X) + "." + e.Sel.Name
	}
	return ""
}

func embedded(doc *ast.CommentGroup) bool {
	if doc == nil {
		return false
	}
	return slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// functions looks for init and for an else after a return.
func (h *House) functions(f File) []Breach {
	var breaches []Breach
	ast.Inspect(f.tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				breaches = append(breaches, h.at(f, n, "init: what must happen happens in main, in order"))
			}
		case *ast.IfStmt:
			if n.Else != nil && returns(n.Body) {
				breaches = append(breaches, h.at(f, n.Else, "else after return"))
			}
		}
		return true
	})
	return breaches
}

func returns(body *ast.BlockStmt) bool {
	if len(body.List) == 0 {
		return false
	}
	_, ok := body.List[len(body.List)-1].(*ast.ReturnStmt)
	return ok
}

func (h *House) at(f File, n ast.Node, what string) Breach {
	return Breach(fmt.Sprintf("%s:%d: %s", f.Path, h.fset.Position(n.Pos()).Line, what))
}
