package approval

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT 1":                    "SELECT 1",
		"SELECT 'größe', '日本', 'мир'": "SELECT 'größe', '日本', 'мир'",
		"a\nb\tc":                     "a⏎b⇥c",
		"a⏎b":                         "a<U+23CE>b",
		"\x1b[2J":                     "<U+001B>[2J",
		"a\u202eb":                    "a<U+202E>b",
		"a\u200bb\u00a0c":             "a<U+200B>b<U+00A0>c",
		"<U+202E> < U":                "<U+003C>U+202E> < U",
		"\xff\xfe":                    "<FF><FE>",
		"<FF> <a> <ff>":               "<U+003C>FF> <a> <ff>",
		"\ufffd":                      "\ufffd",
		"us\u0435rs":                  "us<U+0435>rs",
		"DROP ｔable":                  "DROP <U+FF54>able",
		"\u2028\r\x7f\u0085":          "<U+2028><U+000D><U+007F><U+0085>",
		"a\u3164b":                    "a<U+3164>b",
	} {
		if got := Visible(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := Lines("a\r\nb\x00"); len(got) != 2 || got[0] != "a" || got[1] != "b<U+0000>" {
		t.Errorf("%q", got)
	}
}

func FuzzVisible(f *testing.F) {
	f.Add("<U+")
	f.Add("a\nb<U+000A>\xff<FF>")
	f.Fuzz(func(t *testing.T, text string) {
		got := Visible(text)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) || strings.ContainsFunc(got, func(r rune) bool { return unicode.Is(unicode.Cf, r) }) {
			t.Errorf("%q: %q", text, got)
		}
		if back := unrender(got); back != text {
			t.Errorf("%q renders as %q, which also stands for %q", text, got, back)
		}
	})
}

// unrender reads a rendering back: that it can be done shows that no two texts look the same.
func unrender(s string) string {
	var out strings.Builder
	for len(s) > 0 {
		var code rune
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case strings.HasPrefix(s, "<U+"):
			end := strings.IndexByte(s, '>')
			for _, c := range s[3:end] {
				code = code*16 + rune(strings.IndexRune("0123456789ABCDEF", c))
			}
			out.WriteRune(code)
			size = end + 1
		case len(s) >= 4 && s[0] == '<' && isHex(s[1]) && isHex(s[2]) && s[3] == '>':
			const digits = "0123456789ABCDEF"
			out.WriteByte(byte(strings.IndexByte(digits, s[1])<<4 | strings.IndexByte(digits, s[2])))
			size = 4
		case r == '⏎':
			out.WriteByte('\n')
		case r == '⇥':
			out.WriteByte('\t')
		default:
			out.WriteRune(r)
		}
		s = s[size:]
	}
	return out.String()
}
