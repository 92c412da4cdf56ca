package postgres

import (
	"bytes"

	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
)

// lexing is what decides how the server reads a text: where a string ends depends on
// settings. sqlread reads with standard_conforming_strings on, and in an encoding
// where no byte below 0x80 is part of a longer character.
type lexing struct {
	escapes bool // standard_conforming_strings is off
	shifty  bool // client_encoding has characters whose second byte may be a quote or backslash
	tuned   bool // something on its way may change the above
}

// heed takes a ParameterStatus body.
func (l *lexing) heed(body []byte) {
	name, rest, _ := wire.CString(body)
	value, _, _ := wire.CString(rest)
	switch string(name) {
	case "standard_conforming_strings":
		l.escapes = string(value) != "on"
	case "client_encoding":
		switch string(bytes.ToUpper(value)) {
		case "SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004":
			l.shifty = true
		default:
			l.shifty = false
		}
	}
}

// doubt says why the server may read text differently, or nothing.
func (l *lexing) doubt(text []byte) string {
	switch {
	case (l.escapes || l.tuned) && bytes.IndexByte(text, '\\') >= 0:
		return "where its strings end depends on standard_conforming_strings"
	case (l.shifty || l.tuned) && hasHigh(text):
		return "how its characters are read depends on client_encoding"
	}
	return ""
}

func hasHigh(text []byte) bool {
	for _, b := range text {
		if b >= 0x80 {
			return true
		}
	}
	return false
}
