package http

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	nethttp "net/http"
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/protocoltest"
	"github.com/chaperone-dev/chaperone/rules"
)

const policyHead = `
identities: [{name: bot, owner: o@example.com, purpose: test, match: [{unit: a.service}]}]
targets: [{name: target, protocol: http, addresses: ["10.0.0.1:80"]}]
grants: [{identity: bot, target: target, ttl: 1h, approval: none}]
`

// masks reads masks as a policy has them.
func masks(t testing.TB, yaml string) *rules.Masks {
	t.Helper()
	p, err := rules.Parse([]rules.File{{Name: "p.yaml", Data: []byte(policyHead + yaml)}}, rules.Options{Generation: 1, Key: []byte("0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	return p.Masks("bot", "target")
}

const (
	jsonMasks   = `masks: [{name: m, target: target, json: ["$..ssn", "$.users[*].mail", "$.secret"], with: redact}]`
	detectMasks = `masks: [{name: m, target: target, detect: [email, credit_card, private_key, jwt], with: redact}]`
	headerMasks = `masks: [{name: m, target: target, headers: [x-ssn], with: redact}]`
)

// answer sends one GET through an engine with masks and gives the response as the client reads it.
func answer(t *testing.T, m *rules.Masks, response string, cut int) (*protocoltest.Driver, *nethttp.Response, string) {
	t.Helper()
	tape := &protocoltest.Tape{}
	s := protocoltest.Session(tape)
	s.Masks = m
	d := protocoltest.Start(NewEngine(s), protocoltest.AllowAll, tape)
	d.Send(interceptor.Up, []byte("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nRange: bytes=0-5\r\n\r\n"))
	for rest := response; rest != ""; {
		n := min(cut, len(rest))
		d.Send(interceptor.Down, []byte(rest[:n]))
		rest = rest[n:]
	}
	d.EOF(interceptor.Down)
	for _, f := range d.Faults() {
		t.Error(f)
	}
	r, err := nethttp.ReadResponse(bufio.NewReader(bytes.NewReader(d.Written[interceptor.Down])), nil)
	if err != nil {
		t.Fatalf("client cannot read %q: %v", d.Written[interceptor.Down], err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		body = append(body, "!cut off"...)
	}
	if got := string(tape.Stream(interceptor.TapeDown)); !strings.Contains(got, "Set-Cookie") && got != string(d.Written[interceptor.Down]) {
		t.Errorf("tape is not what the client saw:\n%q\n%q", got, d.Written[interceptor.Down])
	}
	return d, r, string(body)
}

func respond(kind, body string) string {
	return "HTTP/1.1 200 OK\r\nContent-Type: " + kind + "\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

func TestJSONIsMaskedHoweverItIsCut(t *testing.T) {
	long := strings.Repeat("y", 100<<10)
	for name, c := range map[string]struct{ in, want string }{
		"deep key":        {`{"a":{"ssn":"123"},"b":1}`, `{"a":{"ssn":"[masked]"},"b":1}`},
		"white space":     {"{ \"ssn\" :\t\"1\" ,\n\"b\":[1, 2 ]}\n", "{ \"ssn\" :\t\"[masked]\" ,\n\"b\":[1, 2 ]}\n"},
		"number":          {`{"ssn":123,"b":-1.5e3}`, `{"ssn":0,"b":-1.5e3}`},
		"bool and null":   {`{"ssn":true,"b":{"ssn":null}}`, `{"ssn":false,"b":{"ssn":null}}`},
		"object":          {`{"ssn":{"a":"}\"","b":[1,{"c":2}]},"d":2}`, `{"ssn":{},"d":2}`},
		"array":           {`{"ssn":["]",[1],{}],"d":2}`, `{"ssn":[],"d":2}`},
		"array elements":  {`{"users":[{"mail":"a","n":1},{"mail":"b"}]}`, `{"users":[{"mail":"[masked]","n":1},{"mail":"[masked]"}]}`},
		"other path":      {`{"mail":"a","x":{"secret":"b"},"secret":"c"}`, `{"mail":"a","x":{"secret":"b"},"secret":"[masked]"}`},
		"escaped key":     {`{"s\u0073n":"1"}`, `{"s\u0073n":"[masked]"}`},
		"key twice":       {`{"ssn":"1","ssn":"2"}`, `{"ssn":"[masked]","ssn":"[masked]"}`},
		"lines":           {"{\"ssn\":\"1\"}\n{\"ssn\":2}\n", "{\"ssn\":\"[masked]\"}\n{\"ssn\":0}\n"},
		"top level":       {`[{"ssn":"1"}, "x", 5]`, `[{"ssn":"[masked]"}, "x", 5]`},
		"scalar":          {`42`, `42`},
		"empty things":    {`{"a":{},"b":[],"c":""}`, `{"a":{},"b":[],"c":""}`},
		"long masked":     {`{"ssn":"` + long + `","b":1}`, `{"ssn":"[masked]","b":1}`},
		"long plain":      {`{"a":"` + long + `","b":1}`, `{"a":"` + long + `","b":1}`},
		"not JSON":        {`hello`, `!cut off`},
		"cut short":       {`{"a":1`, `{"a":1!cut off`},
		"trailing comma":  {`{"a":1,}`, `{"a":1,!cut off`},
		"single quotes":   {`{'ssn':'1'}`, `{!cut off`},
		"unbalanced":      {`{"a":[1}`, `{"a":[1!cut off`},
		"control in text": {"{\"a\":\"x\ny\"}", "{\"a\":!cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			cuts := []int{1 << 20, 997}
			if len(c.in) < 1000 {
				cuts = []int{1 << 20, 1, 3}
			}
			for _, cut := range cuts {
				_, r, got := answer(t, masks(t, jsonMasks), respond("application/json", c.in), cut)
				if strings.HasSuffix(c.want, "!cut off") { // the whole of a short body is looked at first
					if r.StatusCode != 502 || !strings.Contains(got, "the body is not JSON") {
						t.Errorf("cut %d: %d %q passed", cut, r.StatusCode, got)
					}
					continue
				}
				if got != c.want || r.StatusCode != 200 {
					t.Errorf("cut %d: %.200q, want %.200q", cut, got, c.want)
				}
			}
		})
	}
}

func TestWhatIsNoJSONIsWithheldBeforeItsHead(t *testing.T) {
	long := strings.Repeat("y", 8<<10)
	head := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	for name, c := range map[string]struct {
		response string
		status   int
		body     string
	}{
		"page":              {respond("application/json", "<html>"), 502, "the body is not JSON"},
		"long page":         {respond("application/json", " \n<html>"+long), 502, "the body is not JSON"},
		"page in chunks":    {head + "Transfer-Encoding: chunked\r\n\r\n3\r\n \n \r\n6\r\n<html>\r\n0\r\n\r\n", 502, "the body is not JSON"},
		"page to the end":   {head + "\r\n<html>", 502, "the body is not JSON"},
		"nothing in chunks": {head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, ""},
		"nothing at all":    {head + "\r\n", 200, ""},
		"blanks to the end": {head + "\r\n \n", 200, ""},
		"half of it":        {head + "Content-Length: 9\r\n\r\n{\"a\"", 502, "in the middle of its response"},
		"error page":        {strings.Replace(respond("application/json", "<html>"), "200 OK", "404 Not Found", 1), 404, ""},
		"late":              {respond("application/json", "["+long), 200, "!cut off"},
	} {
		for _, cut := range []int{1 << 20, 1, 7} {
			_, r, got := answer(t, masks(t, jsonMasks), c.response, cut)
			if r.StatusCode != c.status || !strings.Contains(got, c.body) || c.body == "" && got != "" {
				t.Errorf("%s, cut %d: %d %q", name, cut, r.StatusCode, got)
			}
		}
	}
}

func TestDetectorsLookAtJSONDecoded(t *testing.T) {
	big := strings.Repeat("word ", 30<<10)
	for in, want := range map[string]string{
		`{"t":"write to al@example.com now"}`:           `{"t":"write to [masked] now"}`,
		`{"t":"al\u0040example.com"}`:                   `{"t":"[masked]"}`,
		`{"al@example.com":1}`:                          `{"[masked]":1}`,
		`{"n":4111111111111111}`:                        `{"n":0}`,
		`{"t":"\u00e9 \"plain\" \n"}`:                   `{"t":"\u00e9 \"plain\" \n"}`,
		`{"t":"` + big + `al@example.com ` + big + `"}`: `{"t":"` + big + `[masked] ` + big + `"}`,
	} {
		for _, cut := range []int{1 << 20, 7} {
			if _, _, got := answer(t, masks(t, detectMasks), respond("application/json", in), cut); got != want {
				t.Errorf("cut %d: %.100q became %.100q", cut, in, got)
			}
		}
	}
}

func TestDetectorsLookAtTextAcrossCuts(t *testing.T) {
	key := "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat(strings.Repeat("A", 64)+"\n", 40) + "-----END PRIVATE KEY-----"
	filler := strings.Repeat("x ", 10<<10)
	for in, want := range map[string]string{
		"mail al@example.com\nnext":                            "mail [masked]\nnext",
		"card 4111 1111 1111 1111":                             "card [masked]",
		"a\n" + key + "\nb\n":                                  "a\n[masked]\nb\n",
		filler + "al@example.com " + filler + "bo@example.com": filler + "[masked] " + filler + "[masked]",
	} {
		for _, cut := range []int{1 << 20, 1000, 11} {
			if _, _, got := answer(t, masks(t, detectMasks), respond("text/plain", in), cut); got != want {
				t.Errorf("cut %d: %.80q became %.80q", cut, in, got)
			}
		}
	}
}

func TestLinesFlowThroughDetectors(t *testing.T) {
	tape := &protocoltest.Tape{}
	s := protocoltest.Session(tape)
	s.Masks = masks(t, detectMasks)
	d := protocoltest.Start(NewEngine(s), protocoltest.AllowAll, tape)
	d.Send(interceptor.Up, []byte(get))
	d.Send(interceptor.Down, []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\n"))
	if !bytes.Contains(d.Written[interceptor.Down], []byte("data: one\n\n")) {
		t.Error("an event waits for the next one")
	}
}

func TestWhatCannotBeLookedIntoIsWithheld(t *testing.T) {
	body := "\r\nContent-Length: 6\r\n\r\nsecret"
	for name, c := range map[string]struct{ masks, response string }{
		"compressed":     {jsonMasks, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip" + body},
		"part":           {jsonMasks, "HTTP/1.1 206 Partial Content\r\nContent-Type: application/json\r\nContent-Range: bytes 0-5/9" + body},
		"byte ranges":    {jsonMasks, "HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=x" + body},
		"html":           {jsonMasks, "HTTP/1.1 200 OK\r\nContent-Type: text/html" + body},
		"csv":            {jsonMasks, "HTTP/1.1 200 OK\r\nContent-Type: text/csv" + body},
		"no type":        {jsonMasks, "HTTP/1.1 200 OK" + body},
		"two types":      {jsonMasks, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Type: text/html" + body},
		"utf-16":         {jsonMasks, "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-16" + body},
		"binary":         {detectMasks, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream" + body},
		"image":          {detectMasks, "HTTP/1.1 200 OK\r\nContent-Type: image/png" + body},
		"malformed head": {headerMasks, "HTTP/1.1 200 OK\r\nX: a\r\n b" + body},
	} {
		for _, cut := range []int{1 << 20, 1} {
			d, r, got := answer(t, masks(t, c.masks), c.response, cut)
			if r.StatusCode != 502 || strings.Contains(got, "secret") || !d.Ended {
				t.Errorf("%s: status %d, body %q, ended %v", name, r.StatusCode, got, d.Ended)
			}
		}
	}
	_, r, got := answer(t, masks(t, jsonMasks), "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nX-Kept: 1"+body, 5)
	if r.StatusCode != 404 || got != "" || r.Header.Get("X-Kept") != "1" {
		t.Errorf("error page: status %d, body %q", r.StatusCode, got)
	}
}

func TestServersAreAskedForTheWholePlainBody(t *testing.T) {
	d, _, _ := answer(t, masks(t, jsonMasks), respond("application/json", `{}`), 100)
	up := string(d.Written[interceptor.Up])
	if !strings.Contains(up, "Accept-Encoding: identity\r\n") || strings.Contains(up, "gzip") || strings.Contains(up, "Range") {
		t.Errorf("went up: %q", up)
	}
}

func TestHeadersAndTrailersAreMasked(t *testing.T) {
	_, r, body := answer(t, masks(t, headerMasks), "HTTP/1.1 200 OK\r\nX-Ssn: abc\r\nx-SSN: def\r\nX-Open: abc\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Ssn: abc\r\n\r\n", 4)
	if got := r.Header.Values("X-Ssn"); len(got) != 2 || got[0] != "[masked]" || got[1] != "[masked]" || r.Header.Get("X-Open") != "abc" {
		t.Errorf("headers %v", r.Header)
	}
	if body != "ok" || r.Trailer.Get("X-Ssn") != "" {
		t.Errorf("body %q, trailer %v", body, r.Trailer)
	}
	_, r, _ = answer(t, masks(t, detectMasks), "HTTP/1.1 302 Found al@example.com\r\nLocation: /?m=al@example.com\r\nContent-Length: 0\r\n\r\n", 4)
	if strings.Contains(r.Status+r.Header.Get("Location"), "example.com") {
		t.Errorf("status %q, location %q", r.Status, r.Header.Get("Location"))
	}
}

func TestOldClientsGetAMaskedBodyThatEndsWithTheConnection(t *testing.T) {
	tape := &protocoltest.Tape{}
	s := protocoltest.Session(tape)
	s.Masks = masks(t, jsonMasks)
	d := protocoltest.Start(NewEngine(s), protocoltest.AllowAll, tape)
	d.Send(interceptor.Up, []byte("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"))
	d.Send(interceptor.Down, []byte(respond("application/json", `{"ssn":"1"}`)))
	got := string(d.Written[interceptor.Down])
	if !strings.HasSuffix(got, "Connection: close\r\n\r\n{\"ssn\":\"[masked]\"}") || !d.Ended {
		t.Errorf("client saw %q, ended %v", got, d.Ended)
	}
}

func maskedSuite(tb testing.TB) protocoltest.Case {
	m := masks(tb, `masks: [{name: m, target: target, json: ["$..ssn"], detect: [email, credit_card], headers: [x-ssn], with: redact}]`)
	up, down := protocoltest.Up, protocoltest.Down
	return protocoltest.Case{
		Engine: func(s *interceptor.Session) interceptor.Engine { return NewEngine(s) },
		Session: func(tape interceptor.Tape) *interceptor.Session {
			s := protocoltest.Session(tape)
			s.Masks = m
			return s
		},
		Normal: func(dir interceptor.Direction, b []byte) []byte {
			if dir == interceptor.Up {
				return b
			}
			return unchunk(b)
		},
		Conversations: []protocoltest.Conversation{
			{Name: "masked", Questions: 1, Loop: true, Steps: []protocoltest.Step{up(get), down(respond("application/json", `{"ssn":"1","x":["a@example.com",{"ssn":5}]}`))}},
			{Name: "masked chunks", Questions: 2, Steps: []protocoltest.Step{
				up(get + get), down("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{\"ssn\"\r\n5\r\n:\"1\"}\r\n0\r\nX: y\r\n\r\n" + ok),
			}},
		},
	}
}

// unchunk reads all responses and gives status, fields and bodies.
func unchunk(b []byte) []byte {
	var all bytes.Buffer
	r := bufio.NewReader(bytes.NewReader(b))
	for {
		resp, err := nethttp.ReadResponse(r, nil)
		if err != nil {
			return all.Bytes()
		}
		body, err := io.ReadAll(resp.Body)
		all.WriteString(resp.Status + "\n")
		_ = resp.Header.Write(&all)
		all.Write(body)
		if err != nil {
			return all.Bytes()
		}
	}
}

func TestMaskedConformance(t *testing.T) { protocoltest.Run(t, maskedSuite(t)) }

func FuzzMasked(f *testing.F) {
	protocoltest.Fuzz(f, maskedSuite(f).With(protocoltest.Captures(f, "http")))
}

func TestNothingSlipsThroughTheWindow(t *testing.T) {
	set, with := masks(t, detectMasks).Detectors()
	words := []string{"al@example.com", "4111 1111 1111 1111", "word", "x", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln", "12:30", "-"}
	r := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		var text []byte
		for len(text) < 80<<10 {
			text = append(append(text, words[r.IntN(len(words))]...), " \n"[r.IntN(50)/49])
		}
		want, _ := set.Scrub(nil, text, with)
		got, err := scrubbed(&textScrubber{set: set, with: with, count: func(int) {}}, text, 1+r.IntN(20000))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes became %d, whole they are %d (%v)", len(text), len(got), len(want), err)
		}
	}
}
