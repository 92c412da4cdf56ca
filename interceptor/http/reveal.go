package http

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/chaperone-dev/chaperone/interceptor/http/wire"
)

// maxShown is how much of a body people are shown, in bytes.
const maxShown = 4 << 10

// reveal shows people who are asked what a request's line does not say.
func (u *client) reveal(body []byte) func() []string {
	kept := append(bytes.Clone(u.head.Raw), body[:min(len(body), maxShown)]...)
	size := len(body)
	return func() []string {
		var head wire.Head
		var req wire.Request
		n, err := head.Scan(kept)
		if err != nil || req.Read(&head) != nil {
			return nil // it was read before
		}
		return append(about(&head, &req), bodily(&head, &req, kept[n:], size)...)
	}
}

// about lists where a request goes, and the fields that say what it does there.
func about(h *wire.Head, r *wire.Request) []string {
	shown := []string{"host: " + string(r.Host)}
	if len(r.Query) > 0 {
		shown = append(shown, "query: "+redactQuery(plainly(string(r.Query))))
	}
	for _, f := range h.Fields {
		if f.OverridesMethod() || f.OverridesPath() || slices.ContainsFunc(telling, f.Is) {
			shown = append(shown, strings.TrimSpace(string(appendBlotted(nil, f))))
		}
	}
	return shown
}

// telling are fields without which a request's line tells half of what it does: where something is moved or
// copied to or from, which operation of a service is called, what the body is.
var telling = []string{
	"destination", "overwrite", "depth", "x-amz-copy-source", "x-ms-copy-source", "x-goog-copy-source", "x-copy-from",
	"x-amz-target", "soapaction", "content-type", "content-encoding", "content-range",
}

// bodily shows how a body of size bytes begins.
func bodily(h *wire.Head, r *wire.Request, begins []byte, size int) []string {
	switch {
	case r.Framing.By == wire.Empty:
		return nil
	case size == 0:
		return []string{"body: not seen before the answer"}
	}
	shown := legible(h, begins)
	if size > len(begins) {
		return []string{"body: " + shown, fmt.Sprintf("body: and %d bytes more", size-len(begins))}
	}
	return []string{"body: " + shown}
}

// legible is the beginning of a body as people see it, what betrays itself as a credential blotted out.
func legible(h *wire.Head, begins []byte) string {
	kind, n := h.Only("content-type")
	name, _ := mediaType(string(kind))
	switch {
	case strings.HasPrefix(name, "multipart/"):
		return blotParts(string(begins))
	case isForm(h), n == 0 && bytes.IndexByte(begins, '=') > 0 && begins[0] != '{' && begins[0] != '[':
		return redactQuery(string(begins))
	}
	return string(blotPairs(begins))
}

// blotParts blots out the parts of a multipart form whose names betray a credential.
func blotParts(form string) string {
	var b strings.Builder
	secret, head := false, false
	for line := range strings.Lines(form) {
		lower := strings.ToLower(line)
		switch {
		case strings.HasPrefix(line, "--"):
			secret, head = false, true
		case head && strings.TrimSpace(line) == "":
			head = false
			if secret {
				line += blot + "\n"
			}
		case head && strings.HasPrefix(lower, "content-disposition"):
			_, called, _ := strings.Cut(lower, "name=")
			called, _, _ = strings.Cut(called, ";")
			secret = secret || secretParameter(strings.Trim(strings.TrimSpace(called), `"`))
		case secret && !head:
			continue
		}
		b.WriteString(line)
	}
	return b.String()
}

func isForm(h *wire.Head) bool {
	kind, n := h.Only("content-type")
	name, _ := mediaType(string(kind))
	return n == 1 && name == "application/x-www-form-urlencoded"
}

// blotPairs blots out the strings behind names in JSON that betray a credential.
func blotPairs(text []byte) []byte {
	out := make([]byte, 0, len(text))
	secret := false
	for len(text) > 0 {
		if text[0] != '"' {
			if text[0] != ':' && text[0] > ' ' {
				secret = false
			}
			out, text = append(out, text[0]), text[1:]
			continue
		}
		size := quoted(text)
		word, rest := text[:size], bytes.TrimLeft(text[size:], " \t\r\n")
		name := len(rest) > 0 && rest[0] == ':'
		if secret && !name {
			word = []byte(`"` + blot + `"`)
		}
		secret = name && (betrays(word) || secretParameter(strings.Trim(string(word), `"`)))
		out, text = append(out, word...), text[size:]
	}
	return out
}

// quoted is the length of the JSON string that begins text; all of it where it does not end.
func quoted(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}
