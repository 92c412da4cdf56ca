package http

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/protocoltest"
)

// wide is a text in UTF-16.
func wide(text string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(text)) {
		b.WriteString(string([]byte{byte(unit), byte(unit >> 8)}))
	}
	return b.String()
}

// Detectors read bytes: a text in another charset, said or not, is one they cannot look into.
func TestTextInAnotherCharsetDoesNotPass(t *testing.T) {
	for _, kind := range []string{"text/plain", "text/plain; charset =utf-16", "text/plain; charset = utf-16", "application/xml", "text/plain; CHARSET\t=\tutf-16"} {
		for _, cut := range []int{1 << 20, 7} {
			secret := wide("anna@example.com 4111111111111111 ")
			body := secret + strings.Repeat(wide("x"), 10<<10) + secret
			_, _, seen := answerCut(t, kind, body, cut)
			if strings.Contains(seen, secret) {
				t.Errorf("%s: the client read what detectors could not", kind)
			}
		}
	}
}

// answerCut is answer for a body that may break off.
func answerCut(t *testing.T, kind, body string, cut int) (*protocoltest.Driver, string, string) {
	t.Helper()
	tape := &protocoltest.Tape{}
	s := protocoltest.Session(tape)
	s.Masks = masks(t, detectMasks)
	d := protocoltest.Start(NewEngine(s), protocoltest.AllowAll, tape)
	d.Send(interceptor.Up, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	response := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", kind, len(body), body)
	for rest := response; rest != "" && !d.Ended; {
		n := min(cut, len(rest))
		d.Send(interceptor.Down, []byte(rest[:n]))
		rest = rest[n:]
	}
	head, text, _ := strings.Cut(string(d.Written[interceptor.Down]), "\r\n\r\n")
	return d, head, text
}

// A body of blanks in pieces must not be waited for until there is no room.
func TestBlanksInChunksAreNotWaitedForForever(t *testing.T) {
	tape := &protocoltest.Tape{}
	s := protocoltest.Session(tape)
	s.Masks = masks(t, jsonMasks)
	d := protocoltest.Start(NewEngine(s), protocoltest.AllowAll, tape)
	d.Send(interceptor.Up, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	d.Send(interceptor.Down, []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"+strings.Repeat("1\r\n \r\n", 3*foresight)))
	if len(d.Written[interceptor.Down]) == 0 {
		t.Error("nothing is released")
	}
	d.Send(interceptor.Down, []byte("10\r\n{\"ssn\":\"123456\"}\r\n0\r\n\r\n"))
	if got := string(d.Written[interceptor.Down]); strings.Contains(got, "123456") || !strings.Contains(got, `"ssn"`) {
		t.Errorf("client saw %.80q...", got)
	}
}
