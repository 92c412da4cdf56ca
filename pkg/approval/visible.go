package approval

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Visible renders untrusted text for a terminal, on one line, such that what an
// approver sees is what will run: control, bidi and invisible characters, bytes
// that are no UTF-8, and letters that only look Latin inside a Latin word come
// out as <U+202E>. A line break is ⏎ and a tab is ⇥. The
// rendering is unambiguous: text cannot imitate it.
func Visible(text string) string {
	var out strings.Builder
	out.Grow(len(text))
	mixed := newScripts(text)
	for at, r := range text {
		switch {
		case r == utf8.RuneError && !isReplacement(text[at:]):
			fmt.Fprintf(&out, "<%02X>", text[at])
		case r == '\n':
			out.WriteString("⏎")
		case r == '\t':
			out.WriteString("⇥")
		case r == ' ', !hides(r) && !imitates(r, text[at:]) && !mixed.disguised(r, at):
			out.WriteRune(r)
		default:
			fmt.Fprintf(&out, "<U+%04X>", r)
		}
	}
	return out.String()
}

// Lines renders untrusted text over several lines, one Visible line each.
func Lines(text string) []string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = Visible(strings.TrimSuffix(line, "\r"))
	}
	return lines
}

func isReplacement(s string) bool { return strings.HasPrefix(s, string(utf8.RuneError)) }

// hides says whether a rune is unseen, or moves others about.
func hides(r rune) bool {
	switch {
	case !unicode.IsGraphic(r), unicode.Is(unicode.Zs, r), unicode.Is(unicode.Cf, r):
		return true
	case unicode.Is(unicode.Mn, r), unicode.Is(unicode.Me, r): // marks that strike through or pile up
		return true
	}
	switch r {
	case '\u115f', '\u1160', '\u3164', '\uffa0', '\u2800': // fillers: letters and a symbol that look like a space
		return true
	}
	return false
}

// imitates says whether text would pass for our own marks.
func imitates(r rune, rest string) bool {
	if r == '⏎' || r == '⇥' {
		return true
	}
	if r != '<' {
		return false
	}
	return strings.HasPrefix(rest, "<U+") || len(rest) >= 4 && rest[3] == '>' && isHex(rest[1]) && isHex(rest[2])
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' }

// scripts walks along a text and knows of each word whether it holds ASCII letters.
type scripts struct {
	text  string
	until int  // end of the word that was looked at last
	latin bool // that word has ASCII letters
}

func newScripts(text string) *scripts { return &scripts{text: text} }

// disguised says whether r, at offset at, is a letter of another alphabet in a word with ASCII letters.
func (s *scripts) disguised(r rune, at int) bool {
	if !wordly(r) {
		return false
	}
	if at >= s.until {
		s.measure(at)
	}
	return s.latin && r >= utf8.RuneSelf && !plainLatin(r)
}

// measure looks at the word that starts at at.
func (s *scripts) measure(at int) {
	s.latin = false
	s.until = len(s.text)
	for i, r := range s.text[at:] {
		if !wordly(r) {
			s.until = at + i
			return
		}
		s.latin = s.latin || r < utf8.RuneSelf && unicode.IsLetter(r)
	}
}

func wordly(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// plainLatin are the accented letters people write; the fullwidth and mathematical lookalikes are not among them.
func plainLatin(r rune) bool { return r <= 0x24f && unicode.Is(unicode.Latin, r) }
