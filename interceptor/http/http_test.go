package http

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/protocoltest"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

const (
	get   = "GET /a?x=1 HTTP/1.1\r\nHost: api.test\r\n\r\n"
	post  = "POST /b HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\n\r\nhello"
	parts = "PUT /c HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
	last  = "PUT /c HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n" // as the server gets parts
	ok    = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	cut   = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
	forb  = "HTTP/1.1 403 Forbidden\r\n"
)

func suite() protocoltest.Case {
	up, down := protocoltest.Up, protocoltest.Down
	return protocoltest.Case{
		Engine: func(s *interceptor.Session) interceptor.Engine { return NewEngine(s) },
		Conversations: []protocoltest.Conversation{
			{Name: "get", Questions: 1, Up: []byte(get), Down: []byte(ok), Loop: true, Steps: []protocoltest.Step{up(get), down(ok)}},
			{Name: "post", Questions: 1, Up: []byte(post), Down: []byte(cut), Loop: true, Steps: []protocoltest.Step{up(post), down(cut)}},
			{Name: "chunked request", Questions: 1, Up: []byte(last), Down: []byte(ok), Steps: []protocoltest.Step{up(parts), down(ok)}},
			{Name: "pipeline", Questions: 3, Up: []byte(get + post + last), Down: []byte(ok + cut + ok), Steps: []protocoltest.Step{up(get + post + parts), down(ok + cut + ok)}},
			{Name: "head and 304", Questions: 2, Steps: []protocoltest.Step{
				up("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + get), down("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"),
			}},
			{Name: "100-continue", Questions: 1, Steps: []protocoltest.Step{
				up("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
				down("HTTP/1.1 100 Continue\r\n\r\n"), up("abc"), down(ok),
			}},
			{Name: "until close", Questions: 1, Steps: []protocoltest.Step{
				up("GET / HTTP/1.0\r\nHost: a\r\n\r\n"), down("HTTP/1.0 200 OK\r\n\r\nall of it"), protocoltest.DownEOF(),
			}},
			{Name: "credentials", Questions: 1, Steps: []protocoltest.Step{
				up("GET /?token=abc HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer s3cret\r\nCookie: sid=s3cret\r\nReferer: /?token=s3cret\r\n\r\n"),
				down("HTTP/1.1 200 OK\r\nSet-Cookie: sid=s3cret\r\nLocation: /cb?code=s3cret&a=b#access_token=s3cret\r\nContent-Length: 0\r\n\r\n"),
			}},
			{Name: "large both ways", Questions: 1, Steps: []protocoltest.Step{
				up("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("u", 300000)),
				down("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("d", 300000)),
			}},
		},
	}
}

func TestConformance(t *testing.T) {
	protocoltest.Run(t, suite().With(protocoltest.Captures(t, "http")))
}

func FuzzEngine(f *testing.F) { protocoltest.Fuzz(f, suite().With(protocoltest.Captures(f, "http"))) }

func talk(t *testing.T, judge protocoltest.Judge) (*protocoltest.Driver, *protocoltest.Tape) {
	t.Helper()
	tape := &protocoltest.Tape{}
	d := protocoltest.Start(NewEngine(protocoltest.Session(tape)), judge, tape)
	t.Cleanup(func() {
		for _, f := range d.Faults() {
			t.Error(f)
		}
	})
	return d, tape
}

// denyPath refuses one path.
func denyPath(path string) protocoltest.Judge {
	return func(r *flow.Request, err error) interceptor.Answer {
		if err != nil || r.HTTP.Path == path {
			return interceptor.Answer{Verdict: flow.Deny, Cause: interceptor.ByRule, Rule: "no-" + path[1:], Message: "not here"}
		}
		return interceptor.Answer{Verdict: flow.Allow}
	}
}

func TestRefusalStandsInItsPlaceAndTheConnectionGoesOn(t *testing.T) {
	d, _ := talk(t, denyPath("/b"))
	d.Send(interceptor.Up, []byte(get+post+get))
	if got := string(d.Written[interceptor.Up]); got != get+get {
		t.Fatalf("went up: %q", got)
	}
	d.Send(interceptor.Down, []byte(ok+ok))
	got := string(d.Written[interceptor.Down])
	if !strings.HasPrefix(got, ok+forb) || !strings.HasSuffix(got, ok) || !strings.Contains(got, `"rule":"no-b"`) {
		t.Fatalf("client saw %q", got)
	}
	if d.Ended {
		t.Error("the connection ended")
	}
}

func TestAmbiguousRequestsAreRefused(t *testing.T) {
	for name, raw := range map[string]string{
		"both framings":         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":           "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
		"length list":           "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
		"signed length":         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
		"odd coding":            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"two codings":           "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"coding in 1.0":         "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"fold":                  "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
		"bare LF":               "GET / HTTP/1.1\nHost: a\n\n",
		"bare LF in fields":     "GET / HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 3\r\n\r\n",
		"bare CR":               "GET / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 3\r\n\r\n",
		"space before colon":    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc",
		"no host":               "GET / HTTP/1.1\r\n\r\n",
		"two hosts":             "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"host differs":          "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"user info":             "GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"version":               "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
		"no version":            "GET /\r\n\r\n",
		"http2":                 "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"lower method":          "get / HTTP/1.1\r\nHost: a\r\n\r\n",
		"two spaces":            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
		"dot segments":          "GET /public/../admin HTTP/1.1\r\nHost: a\r\n\r\n",
		"encoded dots":          "GET /public/%2e%2e/admin HTTP/1.1\r\nHost: a\r\n\r\n",
		"dots behind slash":     "GET /public/..%2fadmin HTTP/1.1\r\nHost: a\r\n\r\n",
		"dots with parameter":   "GET /public/..;/admin HTTP/1.1\r\nHost: a\r\n\r\n",
		"NUL":                   "GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n",
		"backslash":             "GET /a%5cb HTTP/1.1\r\nHost: a\r\n\r\n",
		"encoded twice":         "GET /a%252e%252e/b HTTP/1.1\r\nHost: a\r\n\r\n",
		"bad escape":            "GET /a%zz HTTP/1.1\r\nHost: a\r\n\r\n",
		"length by underline":   "POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 3\r\n\r\nabc",
		"connection length":     "POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\nabc",
		"upgrade in 1.0":        "GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
		"override by underline": "POST / HTTP/1.1\r\nHost: a\r\nX_HTTP_Method_Override: DELETE\r\n\r\n",
		"expectation":           "POST / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n",
		"large head":            "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 65<<10) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := talk(t, protocoltest.AllowAll)
			d.Send(interceptor.Up, []byte(raw))
			if got := d.Written[interceptor.Up]; len(got) > 0 {
				t.Fatalf("went up: %q", got)
			}
			got := string(d.Written[interceptor.Down])
			if !strings.HasPrefix(got, "HTTP/1.1 4") && !strings.HasPrefix(got, "HTTP/1.1 505") || !d.Ended || d.Err != nil {
				t.Errorf("client saw %q, ended %v (%v)", got, d.Ended, d.Err)
			}
		})
	}
}

func TestEveryReadingOfAPathIsJudged(t *testing.T) {
	for path, denied := range map[string]string{
		"/x%2fadmin": "/x/admin", "//admin": "/admin", "/admin;v=1": "/admin", "/%61dmin": "/admin", "/admin/": "/admin/", "/a%2Fb": "/a%2Fb",
	} {
		d, _ := talk(t, denyPath(denied))
		d.Send(interceptor.Up, []byte("GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"))
		if len(d.Written[interceptor.Up]) > 0 {
			t.Errorf("%s reached the server although %s is denied", path, denied)
		}
	}
}

func TestOverriddenMethodIsJudged(t *testing.T) {
	d, _ := talk(t, func(r *flow.Request, _ error) interceptor.Answer {
		if r.HTTP.Method == "DELETE" {
			return interceptor.Answer{Verdict: flow.Deny, Cause: interceptor.ByRule, Rule: "no-delete"}
		}
		return interceptor.Answer{Verdict: flow.Allow}
	})
	d.Send(interceptor.Up, []byte("POST /a HTTP/1.1\r\nHost: a\r\nX-HTTP-Method-Override: delete\r\n\r\n"))
	if len(d.Written[interceptor.Up]) > 0 {
		t.Error("a DELETE in disguise reached the server")
	}
}

func TestOverriddenPathIsJudged(t *testing.T) {
	d, _ := talk(t, denyPath("/admin"))
	d.Send(interceptor.Up, []byte("GET /a HTTP/1.1\r\nHost: a\r\nX-Original-URL: /admin?x\r\n\r\n"))
	if len(d.Written[interceptor.Up]) > 0 {
		t.Error("a path in disguise reached the server")
	}
}

func TestRequestByAnotherNameIsJudged(t *testing.T) {
	for name, raw := range map[string]string{
		"parameter":    "POST /a?_method=delete HTTP/1.1\r\nHost: a\r\n\r\n",
		"encoded":      "POST /a?%5Fmethod=DELET%45 HTTP/1.1\r\nHost: a\r\n\r\n",
		"form":         "POST /a HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 18\r\n\r\nx=1&_method=delete",
		"host's port":  "GET /a HTTP/1.1\r\nHost: Admin.:81\r\n\r\n",
		"query":        "GET /a?%66orce=%31 HTTP/1.1\r\nHost: a\r\n\r\n",
		"text":         "GET //%61dmin HTTP/1.1\r\nHost: a\r\n\r\n",
		"field's name": "GET /a HTTP/1.1\r\nHost: a\r\nX_Role: root\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := talk(t, func(r *flow.Request, _ error) interceptor.Answer {
				h := r.HTTP
				if h.Method == "DELETE" || h.Host == "admin" || h.Query == "force=1" || r.Text == "GET /admin" || h.Headers["x-role"] != nil {
					return interceptor.Answer{Verdict: flow.Deny, Cause: interceptor.ByRule, Rule: "no"}
				}
				return interceptor.Answer{Verdict: flow.Allow}
			})
			d.Send(interceptor.Up, []byte(raw))
			if len(d.Requests) == 0 || len(d.Written[interceptor.Up]) > 0 {
				t.Errorf("%d requests were judged, and %q reached the server", len(d.Requests), d.Written[interceptor.Up])
			}
		})
	}
}

// TestBodyThatCouldBeARequestIsTheLast has servers that leave a body unread not take it for the next request.
func TestBodyThatCouldBeARequestIsTheLast(t *testing.T) {
	for body, last := range map[string]bool{
		"DELETE /users HTTP/1.1\r\n\r\n": true, "\r\nget /x\r\n": true, "{\"a\": 1}\nPURGE\t/x": true, "x=http/1.1": true,
		`{"query": {"match_all": {}}}`: false, "name=Ann&note=call after six": false, "a b c": false,
	} {
		for _, method := range []string{"GET", "POST"} {
			d, _ := talk(t, protocoltest.AllowAll)
			d.Send(interceptor.Up, fmt.Appendf(nil, "%s /a HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%s%s", method, len(body), body, get))
			up := string(d.Written[interceptor.Up])
			if closes := strings.Contains(up, "\r\nConnection: close\r\n"); closes != last || last == strings.HasSuffix(up, get) {
				t.Errorf("%q behind %s: went up: %q", body, method, up)
			}
			d.Send(interceptor.Down, []byte(ok))
			if d.Ended != last {
				t.Errorf("%q behind %s: ended %v", body, method, d.Ended)
			}
		}
	}
}

func TestApproversSeeWhatTheyApprove(t *testing.T) {
	body := `{"to": "DE1", "api_key": "s3cret", "n": 1}`
	d, _ := talk(t, protocoltest.AllowAll)
	d.Send(interceptor.Up, fmt.Appendf(nil, "POST /pay?x=1&token=s3cret HTTP/1.1\r\nHost: bank:81\r\nX-Original-URL: /wipe\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	if len(d.Requests) != 2 {
		t.Fatalf("%d requests", len(d.Requests))
	}
	for i, text := range []string{"POST /pay", "POST /wipe"} {
		r := d.Requests[i]
		shown := strings.Join(r.Reveal(), "\n")
		want := "host: bank:81\nquery: x=1&token=[redacted]\nX-Original-URL: /wipe\nbody: {\"to\": \"DE1\", \"api_key\": \"[redacted]\", \"n\": 1}"
		if r.Text != text || shown != want {
			t.Errorf("%q shows\n%s\nwant %q and\n%s", r.Text, shown, text, want)
		}
	}
	if d.Requests[0].Fingerprint == d.Requests[1].Fingerprint {
		t.Error("who approves one approves the other")
	}
}

func TestCredentialsStayOffTheTape(t *testing.T) {
	for _, c := range suite().Conversations {
		if c.Name != "credentials" {
			continue
		}
		d, tape := talk(t, protocoltest.AllowAll)
		for _, s := range c.Steps {
			d.Send(s.Dir, s.Bytes)
		}
		if !strings.Contains(string(d.Written[interceptor.Up]), "s3cret") {
			t.Fatal("the server did not get the credential")
		}
		for _, e := range tape.Entries {
			if strings.Contains(string(e.Body), "s3cret") || strings.Contains(string(e.Body), "=abc") {
				t.Errorf("on tape (%d): %s", e.Kind, e.Body)
			}
		}
	}
}

func TestLeavingHTTPNeedsARule(t *testing.T) {
	upgrade := "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	d, _ := talk(t, protocoltest.AllowAll)
	d.Send(interceptor.Up, []byte(upgrade))
	if len(d.Written[interceptor.Up]) > 0 || !strings.HasPrefix(string(d.Written[interceptor.Down]), forb) {
		t.Fatalf("default: up %q down %q", d.Written[0], d.Written[1])
	}
	d, _ = talk(t, func(*flow.Request, error) interceptor.Answer {
		return interceptor.Answer{Verdict: flow.Allow, Rule: "ws"}
	})
	d.Send(interceptor.Up, []byte(upgrade+"early"))
	if string(d.Written[interceptor.Up]) != upgrade {
		t.Fatalf("before 101: %q", d.Written[0])
	}
	d.Send(interceptor.Down, []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nframes"))
	d.Send(interceptor.Up, []byte(" more"))
	if string(d.Written[interceptor.Up]) != upgrade+"early more" || !strings.HasSuffix(string(d.Written[interceptor.Down]), "frames") {
		t.Errorf("tunnel: up %q down %q", d.Written[0], d.Written[1])
	}
}

func TestOfferOfHTTP2IsTakenOut(t *testing.T) {
	d, _ := talk(t, protocoltest.AllowAll)
	d.Send(interceptor.Up, []byte("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"))
	if got := string(d.Written[interceptor.Up]); got != "GET / HTTP/1.1\r\nHost: a\r\n\r\n" {
		t.Errorf("went up: %q", got)
	}
}

func TestUnaskedResponseEndsTheConnection(t *testing.T) {
	d, _ := talk(t, protocoltest.AllowAll)
	d.Send(interceptor.Up, []byte(get))
	d.Send(interceptor.Down, []byte(ok+ok))
	if !d.Ended || string(d.Written[interceptor.Down]) != ok {
		t.Errorf("ended %v, client saw %q", d.Ended, d.Written[1])
	}
}

func TestFinalResponseBeforeAnExpectedBodyEndsTheConnection(t *testing.T) {
	d, _ := talk(t, protocoltest.AllowAll)
	d.Send(interceptor.Up, []byte("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 200\r\n\r\n"))
	d.Send(interceptor.Down, []byte("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"))
	if !d.Ended {
		t.Error("what comes next could be a body or a request, and the connection goes on")
	}
}

func TestApprovalsCoverTheBody(t *testing.T) {
	print := func(raw string) string {
		d, _ := talk(t, protocoltest.AllowAll)
		d.Send(interceptor.Up, []byte(raw))
		if len(d.Requests) != 1 {
			t.Fatalf("%d requests for %q", len(d.Requests), raw)
		}
		return d.Requests[0].Fingerprint
	}
	a := print("POST /pay HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n100")
	if a != print("POST /pay HTTP/1.1\r\nHost: a\r\nX-Trace: 7\r\nContent-Length: 3\r\n\r\n100") {
		t.Error("the same payment is not the same")
	}
	for _, other := range []string{
		"POST /pay HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n999",
		"POST /pay HTTP/1.1\r\nHost: a\r\nDestination: /b\r\nContent-Length: 3\r\n\r\n100",
		"POST /pay HTTP/1.1\r\nHost: a\r\nCookie: who=else\r\nContent-Length: 3\r\n\r\n100",
	} {
		if a == print(other) {
			t.Errorf("another payment is the same: %q", other)
		}
	}
}

func TestEveryAnswerCountsForTheDisk(t *testing.T) {
	d, tape := talk(t, func(r *flow.Request, _ error) interceptor.Answer {
		return interceptor.Answer{Verdict: flow.Allow, Rule: "held", Durable: r.HTTP.Path == "/a%2Fb"}
	})
	d.Send(interceptor.Up, []byte("GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n"))
	if len(d.Written[interceptor.Up]) == 0 || tape.Syncs != 1 {
		t.Errorf("%d bytes went up after %d syncs", len(d.Written[interceptor.Up]), tape.Syncs)
	}
	if got := strings.Count(string(tape.Stream(interceptor.TapeVerdict)), `"held"`); got != 2 {
		t.Errorf("%d of 2 verdicts are on tape", got)
	}
}

func TestWhatCannotBeRecordedIsRefusedForNow(t *testing.T) {
	for name, failAt := range map[string]int{"its verdict": 1, "its head": 2} {
		tape := &protocoltest.Tape{FailAt: failAt}
		d := protocoltest.Start(NewEngine(protocoltest.Session(tape)), protocoltest.AllowAll, tape)
		d.Send(interceptor.Up, []byte(post))
		got := string(d.Written[interceptor.Down])
		if !strings.HasPrefix(got, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json") || !strings.Contains(got, "Retry-After: 30") {
			t.Errorf("%s: client saw %q", name, got)
		}
		if len(d.Written[interceptor.Up]) > 0 || !d.Ended {
			t.Errorf("%s: %q went up, ended %v", name, d.Written[interceptor.Up], d.Ended)
		}
	}
}

func TestOurOwnWords(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	server := netip.MustParseAddrPort("10.0.0.7:80")
	for want, p := range map[string]problem{
		"the server 10.0.0.7:80 cannot be reached: connection refused": unreachable(server, refused),
		"the server 10.0.0.7:80 cannot be reached: no answer in time":  unreachable(server, context.DeadlineExceeded),
		"an approver denied this request and gave no reason":           refusal(interceptor.Answer{Cause: interceptor.ByPerson}),
		"not on a Friday": refusal(interceptor.Answer{Cause: interceptor.ByPerson, Message: "not on a Friday"}),
		"nothing is forwarded that cannot be recorded": refusal(interceptor.Answer{Cause: interceptor.ByIgnorance, Unrecorded: true}),
	} {
		if !strings.HasPrefix(p.detail, want) {
			t.Errorf("%q, want %q", p.detail, want)
		}
	}
}
