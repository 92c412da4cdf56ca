package postgres

import (
	"bytes"
	"context"
	"reflect"

	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// lexing is what decides how the server reads a text: where a string ends depends on
// settings. sqlread reads with standard_conforming_strings on, and in an encoding
// where no byte below 0x80 is part of a longer character.
type lexing struct {
	escapes bool // standard_conforming_strings is off
	shifty  bool // client_encoding has characters whose second byte may be a backslash
	// tuned says that the above may have changed since: something was sent in this batch that
	// may run code, and the server (14 and later) tells of settings before ReadyForQuery only.
	tuned bool
}

// doubts are the ways in which the server may read a text differently than we do.
type doubts struct {
	why       string // where its strings end is not certain
	otherwise string // the text as it may be read as well, where only what strings say differs; empty: it cannot
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

// stir notes that a statement is sent to be analysed, planned or run. Each may run code that changes
// settings: the first two by functions said to be immutable and by the checks of domains. The
// server plans no COPY before it runs.
func (l *lexing) stir(j *judged) {
	l.tuned = l.tuned || copyOf(j.reading) == nil
}

// doubt says in which ways the server may read a text differently.
func (l *lexing) doubt(text []byte) doubts {
	escapes := (l.escapes || l.tuned) && bytes.IndexByte(text, '\\') >= 0
	shifty := (l.shifty || l.tuned) && hasHigh(text)
	if !escapes && !shifty {
		return doubts{}
	}
	r := rereader{text: text, escapes: escapes, shifty: shifty}
	return r.read()
}

// dispel reads a text as the server may read it as well. why is empty when both say the same.
func (d doubts) dispel(ctx context.Context, reader sqlread.Reader, r *sqlread.Reading) (why string, err error) {
	if d.otherwise == "" || r.Unread != "" {
		return d.why, nil
	}
	o, err := reader.Read(ctx, d.otherwise)
	if err != nil {
		return "", err
	}
	if o == nil || o.Unread != "" || !reflect.DeepEqual(r.Statements, o.Statements) {
		return "what its strings say depends on settings that may differ", nil
	}
	return "", nil
}

func hasHigh[T string | []byte](text T) bool {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return true
		}
	}
	return false
}
