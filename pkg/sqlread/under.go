package sqlread

import "strings"

// Setting is what a session's parameters make of its texts, as the server reports
// them (ParameterStatus).
type Setting struct {
	StdStrings bool   // standard_conforming_strings is on
	Encoding   string // client_encoding, as spelled by the server; empty: UTF8
}

// Under is r as it holds for a text sent under a setting: r itself, unless the
// setting lets the server cut the text differently; then it is not understood. Readings
// are made for strings that conform and for UTF-8.
func (r *Reading) Under(s Setting, text string) *Reading {
	switch {
	case !s.StdStrings && strings.IndexByte(text, '\\') >= 0 && strings.IndexByte(text, '\'') >= 0:
		return Refuse(text, "it holds a backslash while standard_conforming_strings is off")
	case !ASCIISafe(s.Encoding) && !ascii(text):
		return Refuse(text, "it is not ASCII, in an encoding whose characters can hold quotes and backslashes")
	}
	return r
}

// ASCIISafe says that in an encoding every byte below 0x80 is that ASCII character. The
// client-only ones of PostgreSQL (BIG5, GB18030, GBK, JOHAB, SJIS, UHC, SHIFT_JIS_2004) are
// not, WIN932 to WIN950 are names of theirs; nor is a name not known here. Like the server
// (clean_encoding_name) it sees letters and digits only.
func ASCIISafe(encoding string) bool {
	e := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(encoding))
	switch e {
	case "", "utf8", "unicode", "sqlascii", "win866", "win874", "alt", "win":
		return true
	}
	for _, family := range []string{"latin", "win125", "windows125", "iso8859", "koi8", "euc"} {
		if strings.HasPrefix(e, family) {
			return true
		}
	}
	return false
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
