package http

import (
	"bytes"
	"slices"
	"strings"

	"github.com/chaperone-dev/chaperone/interceptor/http/wire"
)

// override takes what fields say to override. Of a list some servers take the first, some the last.
func (w *ways) override(h *wire.Head) error {
	for _, f := range h.Fields {
		switch {
		case f.OverridesMethod():
			for one := range strings.SplitSeq(string(f.Value), ",") {
				w.method(one)
			}
		case f.OverridesPath():
			if err := w.path(string(f.Value)); err != nil {
				return err
			}
		}
	}
	return nil
}

// method takes a method that something else than the request's line names.
func (w *ways) method(name string) {
	if name = strings.ToUpper(strings.TrimSpace(name)); name != "" {
		w.methods = another(w.methods, name)
	}
}

// path takes a target that something else than the request's line names: a path, with or without its
// first slash, or a URL.
func (w *ways) path(target string) error {
	if _, rest, absolute := strings.Cut(target, "://"); absolute {
		_, target, _ = strings.Cut(rest, "/")
	}
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	one, other, err := wire.Readings("/" + strings.TrimPrefix(target, "/"))
	if err != nil {
		return err
	}
	w.paths = another(another(w.paths, one), other)
	return nil
}

// formMethods are what a form may be sent for, beside POST.
var formMethods = []string{"DELETE", "PATCH", "PUT"}

// form takes a method that a form names in its body as web frameworks let it. A form that nobody has seen
// may name any.
func (w *ways) form(h *wire.Head, r *wire.Request, body []byte) {
	switch {
	case r.Framing.By == wire.Empty || !mayBeForm(h):
	case len(body) > 0 && !packed(h):
		w.parameters(string(body))
		w.parts(string(body))
	case string(r.Method) == "POST":
		for _, m := range formMethods {
			w.method(m)
		}
	}
}

// mayBeForm says that a server may take a body for a form. Rack does so where it has no type.
func mayBeForm(h *wire.Head) bool {
	kind, n := h.Only("content-type")
	kind = bytes.ToLower(kind)
	return n != 1 || len(kind) == 0 || bytes.Contains(kind, []byte("form-urlencoded")) || bytes.Contains(kind, []byte("multipart/"))
}

// packed says that a body is encoded, so that it is not what it looks like.
func packed(h *wire.Head) bool {
	coding, n := h.Only("content-encoding")
	return n > 1 || n == 1 && !bytes.EqualFold(coding, []byte("identity"))
}

// parameters takes a method that a form or query names: _method=DELETE.
func (w *ways) parameters(form string) {
	if !strings.Contains(form, "%") && !strings.Contains(strings.ToLower(form), "method") {
		return
	}
	for pair := range strings.FieldsFuncSeq(form, func(c rune) bool { return c == '&' || c == ';' }) {
		name, value, _ := strings.Cut(strings.ReplaceAll(pair, "+", " "), "=")
		name, ok := unescape(name)
		if value, also := unescape(value); ok && also && callsMethod(name) {
			w.method(value)
		}
	}
}

// callsMethod says that a parameter is called _method, or comes to be: PHP writes _ for what may not stand
// in a name, and drops blanks before it and what follows a NUL.
func callsMethod(name string) bool {
	name, _, _ = strings.Cut(strings.TrimLeft(name, " "), "\x00")
	return strings.EqualFold(strings.NewReplacer(".", "_", "[", "_", " ", "_").Replace(name), "_method")
}

// parts takes the methods that a multipart form has for values, if one of its parts may be called _method.
// Which value is whose is not looked at: readers of multipart agree on little.
func (w *ways) parts(form string) {
	var found []string
	called := false
	for line := range strings.FieldsFuncSeq(form, func(c rune) bool { return c == '\r' || c == '\n' }) {
		if m := strings.ToUpper(strings.TrimSpace(line)); slices.Contains(formMethods, m) {
			found = append(found, m)
			continue
		}
		lower := strings.ToLower(line)
		called = called || strings.Contains(lower, "name") && (strings.Contains(lower, "method") || strings.ContainsAny(lower, `\%*`))
	}
	for _, m := range found {
		if called {
			w.method(m)
		}
	}
}
