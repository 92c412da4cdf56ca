package postgres

import (
	"bytes"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/chaperone-dev/chaperone/interceptor"
)

// A text that nobody reads as a whole may hold a secret: the server gets it, the tape does not.
func TestLongTextsKeepTheirSecretsOffTheTape(t *testing.T) {
	w := watch(t, "full", "-")
	a := attack(t, w, "")
	filler := "/* " + strings.Repeat("filler ", maxText/4) + " */ "
	rows := "select length('" + strings.Repeat("row ", maxText/4) + "'), 'the end'"
	a.does("alter role nobody_at_all password 'hunter2'; "+filler, filler+"alter role nobody_at_all password 'hunter2'", rows)
	for _, text := range []string{filler + "alter role nobody_at_all password 'hunter2'", rows} {
		a.send(parse("", text), bind("", ""), execute(""), &pgproto3.Sync{})
		a.until(1)
	}
	if got := a.got.String(); strings.Count(got, "nobody_at_all") != 3 || strings.Count(got, "the end") != 2 {
		t.Errorf("the server did not get it whole: %q", got)
	}
	tape := w.tapes.everything(interceptor.TapeUp)
	if strings.Contains(tape, "hunter2") {
		t.Error("the tape has the secret")
	}
	if strings.Count(tape, "'the end'\x00") != 2 || strings.Count(tape, "**\x00") != 3 {
		t.Errorf("the tape has lost what is no secret: %d, %d", strings.Count(tape, "'the end'\x00"), strings.Count(tape, "**\x00"))
	}
}

func TestASecretsNameMayComeInPieces(t *testing.T) {
	text := []byte(strings.Repeat("x", 50) + " PassWord 'hunter2'" + "\x00")
	for size := 1; size <= len(text); size++ {
		l := long{on: true, ending: 1}
		var tape []byte
		for at := 0; at < len(text); at += size {
			piece := text[at:min(len(text), at+size)]
			stars := l.stars(piece, len(text)-at-len(piece))
			if stars == nil {
				stars = piece
			}
			tape = append(tape, stars...)
		}
		if len(tape) != len(text) || bytes.Contains(tape, []byte("hunter")) || !bytes.HasSuffix(tape, []byte("*\x00")) {
			t.Errorf("in pieces of %d: %q", size, tape)
		}
	}
}
