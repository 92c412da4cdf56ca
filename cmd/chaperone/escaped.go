package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"
)

// escaped passes JSON on, with the characters written as \u escapes that a terminal would obey or not
// show: control characters and those that turn the order of others, or are nothing to see. Beyond ASCII, JSON has characters
// inside strings only, where the escape means the same to a program.
type escaped struct {
	w    io.Writer
	half []byte // the beginning of a character whose rest is to come
}

// newJSON is an encoder for the standard output.
func newJSON(w io.Writer) *json.Encoder { return json.NewEncoder(&escaped{w: w}) }

func (e *escaped) Write(p []byte) (int, error) {
	text := append(e.half, p...)
	out := make([]byte, 0, len(text))
	for len(text) > 0 && utf8.FullRune(text) {
		r, n := utf8.DecodeRune(text)
		if unseen(r) {
			out = appendEscape(out, r)
		} else {
			out = append(out, text[:n]...)
		}
		text = text[n:]
	}
	e.half = append([]byte(nil), text...)
	if _, err := e.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// unseen says whether a terminal would obey a character, or show nothing. JSON escapes those below a space itself.
func unseen(r rune) bool {
	return r >= ' ' && (unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r))
}

func appendEscape(b []byte, r rune) []byte {
	for _, unit := range utf16.Encode([]rune{r}) {
		b = fmt.Appendf(b, `\u%04x`, unit)
	}
	return b
}

// escapedYAML writes JSON as YAML. Strings with unseen characters are double-quoted, for their escapes.
func escapedYAML(w io.Writer, data []byte) error {
	var legible bytes.Buffer // YAML takes none of the control characters that JSON does
	_, _ = yamlEscaped{&legible}.Write(data)
	var plain any
	if err := yaml.Unmarshal(legible.Bytes(), &plain); err != nil {
		return err
	}
	var doc yaml.Node
	if err := doc.Encode(plain); err != nil {
		return err
	}
	quote(&doc)
	return yaml.NewEncoder(yamlEscaped{w}).Encode(&doc)
}

// quote has the strings double-quoted that need it.
func quote(n *yaml.Node) {
	if strings.ContainsFunc(n.Value, unseen) {
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, child := range n.Content {
		quote(child)
	}
}

// yamlEscaped is escaped for YAML, which has longer escapes and no surrogates.
type yamlEscaped struct{ w io.Writer }

func (e yamlEscaped) Write(p []byte) (int, error) {
	var out []byte
	for _, r := range string(p) {
		switch {
		case !unseen(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			out = fmt.Appendf(out, `\U%08X`, r)
		default:
			out = fmt.Appendf(out, `\u%04X`, r)
		}
	}
	_, err := e.w.Write(out)
	return len(p), err
}

// onTerminal says whether people read what is written to f.
func onTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
