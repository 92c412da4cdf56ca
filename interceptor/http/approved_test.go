package http

import (
	"strings"
	"testing"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/protocoltest"
)

// What a proxy behind takes out of the request is part of what is approved.
func TestFingerprintKnowsWhatConnectionNames(t *testing.T) {
	print := func(connection string) string {
		d, _ := talk(t, protocoltest.AllowAll)
		d.Send(interceptor.Up, []byte("DELETE /a HTTP/1.1\r\nHost: a\r\nIf-Match: \"1\"\r\nConnection: "+connection+"\r\n\r\n"))
		if len(d.Requests) != 1 {
			t.Fatalf("%q: %d requests", connection, len(d.Requests))
		}
		return d.Requests[0].Fingerprint
	}
	if print("keep-alive") != print("Close") {
		t.Error("whether a connection stays makes another request of it")
	}
	if print("keep-alive") == print("keep-alive, If-Match") {
		t.Error("an approval covers the request without its condition")
	}
}

func TestPeopleSeeWhatFieldsMakeOfARequest(t *testing.T) {
	d, _ := talk(t, protocoltest.AllowAll)
	d.Send(interceptor.Up, []byte(posted("Destination: /b?token=s3cret\r\nX-Amz-Target: Dynamo.DeleteTable\r\nX-Amz-Copy-Source: /c\r\nAuthorization: Bearer s3cret\r\nContent-Type: text/plain\r\n", "x")))
	shown := strings.Join(d.Requests[0].Reveal(), "\n")
	for _, want := range []string{"Destination: /b", "X-Amz-Target: Dynamo.DeleteTable", "X-Amz-Copy-Source: /c", "Content-Type: text/plain"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not shown:\n%s", want, shown)
		}
	}
	if strings.Contains(shown, "s3cret") {
		t.Errorf("a credential is shown:\n%s", shown)
	}
}

// What people are shown is written into the record: no password is, however it is sent.
func TestPeopleSeeNoPasswordOfABody(t *testing.T) {
	const multi = "Content-Type: multipart/form-data; boundary=x\r\n"
	for name, raw := range map[string]string{
		"multipart":          posted(multi, "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nseen\r\n--x\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nhunter2\r\nhunter2\r\n--x\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\nalso\r\n--x--\r\n"),
		"multipart, bare LF": posted(multi, "--x\nContent-Disposition: form-data; name=a\n\nseen\n--x\nContent-Disposition: form-data; name=api_token\n\nhunter2\n--x\nContent-Disposition: form-data; name=b\n\nalso\n--x--\n"),
		"no type":            posted("", "a=seen&password=hunter2&b=also"),
		"json of no type":    posted("", `{"a":"seen;&","password":"hunter2","b":"also"}`),
	} {
		d, _ := talk(t, protocoltest.AllowAll)
		d.Send(interceptor.Up, []byte(raw))
		shown := strings.Join(d.Requests[0].Reveal(), "\n")
		if strings.Contains(shown, "hunter2") || !strings.Contains(shown, "seen") || !strings.Contains(shown, "also") || !strings.Contains(shown, "password") && !strings.Contains(shown, "token") {
			t.Errorf("%s is shown as\n%s", name, shown)
		}
	}
}
