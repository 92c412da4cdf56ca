// Package floors keeps the house standing: which package may know which, and how
// long its files and functions may grow, as a test.
//
// # Why
//
// A law that lives only in a document is broken by the third hurried commit.
// The files are parsed here, rather than asked for with go list, because a test
// that runs another program is answered from go's test cache and never sees
// the breach; go does notice the files a test opens.
package floors

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Module is the import path that every package of the house starts with.
const Module = "github.com/chaperone-dev/chaperone"

// A House is every Go file of a tree.
type House struct {
	fset  *token.FileSet
	Files []File
}

// File is one parsed Go file.
type File struct {
	Path      string // slash-separated, from the root
	Package   string // the folder: "interceptor/postgres"
	Test      bool
	Generated bool
	Lines     int
	tree      *ast.File
}

// programs are the folders under testdata that hold Go of our own, not fixtures.
var programs = []string{"testdata/bench", "testdata/compat", "testdata/scripts", "testdata/servers"}

// Read parses every Go file below root, fixtures and hidden folders excepted.
func Read(root fs.FS) (*House, error) {
	house := &House{fset: token.NewFileSet()}
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if fixture(name) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		return house.add(root, name)
	})
	return house, err
}

// fixture says that a folder holds nothing the law is about.
func fixture(name string) bool {
	if name == "." || name == "testdata" {
		return false
	}
	base := path.Base(name)
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "bin" || base == "node_modules" {
		return true
	}
	if top, _, below := strings.Cut(name, "/"); top == "testdata" && below {
		return !ours(name)
	}
	return base == "testdata"
}

// ours says that a folder below testdata is a program, or inside one.
func ours(name string) bool {
	for _, program := range programs {
		if inside(program, name) {
			return true
		}
	}
	return false
}

// add parses one file.
func (h *House) add(root fs.FS, name string) error {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return err
	}
	tree, err := parser.ParseFile(h.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	h.Files = append(h.Files, File{
		Path:      name,
		Package:   path.Dir(name),
		Test:      strings.HasSuffix(name, "_test.go"),
		Generated: ast.IsGenerated(tree),
		Lines:     strings.Count(string(text), "\n"),
		tree:      tree,
	})
	return nil
}

// imports lists the packages of the house that f imports, as folders.
func (f File) imports() []string {
	var found []string
	for _, spec := range f.tree.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has let it pass, so it is a string
		}
		if inner, ok := strings.CutPrefix(name, Module+"/"); ok {
			found = append(found, inner)
		}
	}
	return found
}

// inside says that name is folder, or below it.
func inside(folder, name string) bool {
	return name == folder || strings.HasPrefix(name, folder+"/")
}
