package http

import (
	"fmt"
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// noDelete refuses a method.
func noDelete(r *flow.Request, err error) interceptor.Answer {
	if err != nil || r.HTTP.Method == "DELETE" {
		return interceptor.Answer{Verdict: flow.Deny, Cause: interceptor.ByRule, Rule: "no-delete"}
	}
	return interceptor.Answer{Verdict: flow.Allow}
}

// posted is a POST with fields and a body.
func posted(fields, body string) string {
	return fmt.Sprintf("POST /a HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s", fields, len(body), body)
}

// Web frameworks take a method from more places than one: Express the first of a list, Rack from
// multipart forms and from a body without a type, Slim from _METHOD.
func TestMethodInDisguiseIsJudged(t *testing.T) {
	const (
		form  = "Content-Type: application/x-www-form-urlencoded\r\n"
		multi = "Content-Type: multipart/form-data; boundary=x\r\n"
	)
	for name, raw := range map[string]string{
		"list":                posted("X-HTTP-Method-Override: delete, POST\r\n", ""),
		"capitals":            posted(form, "_METHOD=DELETE"),
		"blank behind":        posted(form, "_method=DELETE+"),
		"multipart":           posted(multi, "--x\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\ndelete\r\n--x--\r\n"),
		"no type":             posted("", "a=1&_method=DELETE"),
		"two types":           posted(form+"Content-Type: text/plain\r\n", "_method=DELETE"),
		"type with a comma":   posted("Content-Type: application/x-www-form-urlencoded, text/plain\r\n", "_method=DELETE"),
		"form not seen":       "POST /a HTTP/1.1\r\nHost: a\r\n" + form + "Transfer-Encoding: chunked\r\n\r\n",
		"multipart not seen":  "POST /a HTTP/1.1\r\nHost: a\r\n" + multi + "Content-Length: 70000\r\n\r\n",
		"form that waits":     "POST /a HTTP/1.1\r\nHost: a\r\n" + form + "Expect: 100-continue\r\nContent-Length: 14\r\n\r\n",
		"form that is packed": posted(form+"Content-Encoding: gzip\r\n", "\x1f\x8b"),
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := talk(t, noDelete)
			d.Send(interceptor.Up, []byte(raw))
			if len(d.Requests) == 0 || len(d.Written[interceptor.Up]) > 0 {
				t.Errorf("a DELETE in disguise reached the server: %q", d.Written[interceptor.Up])
			}
		})
	}
}

func TestOrdinaryFormsAreAskedAboutOnce(t *testing.T) {
	for name, raw := range map[string]string{
		"form":         posted("Content-Type: application/x-www-form-urlencoded\r\n", "method=DELETE&a=b"),
		"multipart":    posted("Content-Type: multipart/form-data; boundary=x\r\n", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\ndelete\r\n--x--\r\n"),
		"json":         posted("Content-Type: application/json\r\n", `{"_method":"DELETE"}`),
		"json, unseen": "POST /a HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"put, unseen":  "PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	} {
		d, _ := talk(t, noDelete)
		d.Send(interceptor.Up, []byte(raw))
		if len(d.Requests) != 1 || len(d.Written[interceptor.Up]) == 0 {
			t.Errorf("%s: asked %d times, went up: %q", name, len(d.Requests), d.Written[interceptor.Up])
		}
	}
}

func TestPathInDisguiseIsJudged(t *testing.T) {
	for _, value := range []string{"http://a/admin", "HTTPS://b:1/admin?x", "admin", "/admin#x", "/a, /admin", "%2fadmin"} {
		d, _ := talk(t, denyPath("/admin"))
		d.Send(interceptor.Up, []byte("GET /a HTTP/1.1\r\nHost: a\r\nX-Rewrite-URL: "+value+"\r\n\r\n"))
		if len(d.Written[interceptor.Up]) > 0 {
			t.Errorf("%s: a path in disguise reached the server", value)
		}
	}
}
