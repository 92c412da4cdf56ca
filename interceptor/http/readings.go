package http

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/chaperone-dev/chaperone/interceptor/http/wire"
	"github.com/chaperone-dev/chaperone/pkg/flow"
)

// ways are what a server may take a request for: every combination is judged.
type ways struct {
	paths, methods []string
	headers        []map[string][]string
}

// readings are the other requests that a server may understand: another path, another
// method or path where a field or parameter overrides it, and fields by other names. Nearly every request has none.
func (e *Engine) readings(r *flow.Request, loose string, body []byte) ([]*flow.Request, error) {
	w := ways{paths: []string{r.HTTP.Path}, methods: []string{r.HTTP.Method}, headers: []map[string][]string{r.HTTP.Headers}}
	w.paths = another(w.paths, loose)
	if err := w.override(&e.up.head); err != nil {
		return nil, err
	}
	w.parameters(string(e.up.req.Query))
	w.form(&e.up.head, &e.up.req, body)
	if other := dashed(r.HTTP.Headers); other != nil {
		w.headers = append(w.headers, other)
	}
	if len(w.paths)*len(w.methods)*len(w.headers) > maxReadings {
		return nil, wire.ErrPath
	}
	r.Changes = r.Changes || len(w.methods) > 1
	return w.requests(r), nil
}

// another adds what is not there yet.
func another(all []string, one string) []string {
	if slices.Contains(all, one) {
		return all
	}
	return append(all, one)
}

// dashed has the fields whose names hold an underscore by the name with a dash as well: servers that
// hand fields on as CGI does know no difference. nil: there is none.
func dashed(fields map[string][]string) map[string][]string {
	var other map[string][]string
	for name, values := range fields {
		if !strings.Contains(name, "_") {
			continue
		}
		if other == nil {
			other = maps.Clone(fields)
		}
		alias := strings.ReplaceAll(name, "_", "-")
		other[alias] = append(slices.Clone(other[alias]), values...)
	}
	return other
}

// requests are all combinations but the first, which is r. Each is approved on its own.
func (w *ways) requests(r *flow.Request) []*flow.Request {
	if len(w.paths)*len(w.methods)*len(w.headers) == 1 {
		return nil
	}
	var all []*flow.Request
	for i, path := range w.paths {
		for j, method := range w.methods {
			for k, fields := range w.headers {
				if i+j+k == 0 {
					continue
				}
				other, h := *r, *r.HTTP
				h.Path, h.Method, h.Headers, other.HTTP = path, method, fields, &h
				other.Text = method + " " + path
				other.Fingerprint = digest(r.Fingerprint, strconv.Itoa(i), strconv.Itoa(j), strconv.Itoa(k), other.Text)
				all = append(all, &other)
			}
		}
	}
	return all
}

// digest is the SHA-256, in hex, of parts that cannot run into each other.
func digest(parts ...string) string {
	sum := sha256.New()
	for _, part := range parts {
		sum.Write(strconv.AppendInt(nil, int64(len(part)), 10))
		sum.Write([]byte{':'})
		sum.Write([]byte(part))
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// beside are the fields that change nothing of what a request does: an approval
// covers it whatever they say.
var beside = []string{
	"user-agent", "accept", "accept-language", "accept-encoding", "keep-alive", "date", "referer",
	"traceparent", "tracestate", "x-trace", "x-trace-id", "x-request-id", "x-correlation-id", "request-id",
}

// fingerprint is the same for requests that do the same: method, host, target,
// fields and body. A body that is not seen before the question makes the request
// like no other, so that no approval covers what nobody has looked at.
func (e *Engine) fingerprint(r *flow.Request, body []byte) string {
	u := &e.up
	sum := sha256.New()
	sum.Write(u.head.Start)
	for _, f := range u.head.Fields {
		switch {
		case f.Is("connection"):
			sum.Write(named(f))
		case !slices.ContainsFunc(beside, f.Is):
			sum.Write(f.Line) // ends with its line: no two run into each other
		}
	}
	sum.Write([]byte("\r\n"))
	n := seen(&u.req)
	if u.req.Framing.By != wire.Empty && n == 0 {
		sum.Write([]byte(e.session.ID + "/" + strconv.FormatUint(r.ID, 10)))
	}
	sum.Write(body[:n])
	return hex.EncodeToString(sum.Sum(nil))
}

// named is what a Connection field says beyond whether the connection stays: the fields that a proxy
// behind takes out of the request.
func named(f wire.Field) []byte {
	var b []byte
	for one := range bytes.SplitSeq(bytes.ToLower(f.Value), []byte{','}) {
		one = bytes.TrimSpace(one)
		if len(one) > 0 && string(one) != "close" && string(one) != "keep-alive" {
			b = append(append(append(b, "connection:"...), one...), "\r\n"...)
		}
	}
	return b
}

// hostname is the Host field as rules compare it: lower case, without trailing dot, and without the port,
// which servers do not look at. A request to a proxy keeps it: there it says where to.
func hostname(r *wire.Request) string {
	name, port := strings.ToLower(string(r.Host)), ""
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.HasSuffix(name, "]") {
		name, port = name[:i], name[i+1:]
	}
	name = strings.TrimSuffix(name, ".")
	if port == "" || port == "80" || r.Target[0] == '/' || r.Target[0] == '*' {
		return name
	}
	return name + ":" + port
}

// plainly is a query without encodings that change nothing (RFC 3986 2.3), so that rules
// see one spelling.
func plainly(query string) string {
	if strings.IndexByte(query, '%') < 0 {
		return query
	}
	b := make([]byte, 0, len(query))
	for i := 0; i < len(query); i++ {
		if query[i] == '%' && i+2 < len(query) && nibble(query[i+1]) >= 0 && nibble(query[i+2]) >= 0 {
			c := byte(nibble(query[i+1])<<4 | nibble(query[i+2]))
			if unreserved(c) {
				b = append(b, c)
				i += 2
				continue
			}
		}
		b = append(b, query[i])
	}
	return string(b)
}

func unreserved(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || strings.IndexByte("-._~", c) >= 0
}

// couldBeRequest says that a server which leaves a request's body unread could take it, or a line in
// it, for the next request, which nobody has judged. Such a request is the connection's last.
func couldBeRequest(r *wire.Request, body []byte) bool {
	n := seen(r)
	if r.Framing.By == wire.Empty || n == 0 {
		return r.Framing.By != wire.Empty
	}
	if namesHTTP(body[:n]) {
		return true
	}
	for line := range bytes.FieldsFuncSeq(body[:n], func(c rune) bool { return c == '\r' || c == '\n' }) {
		word, _, blank := bytes.Cut(bytes.ReplaceAll(line[:min(len(line), maxVerb)], []byte{'\t'}, []byte{' '}), []byte{' '})
		if blank && len(word) >= minVerb && len(bytes.Trim(word, verbLetters)) == 0 {
			return true
		}
	}
	return false
}

// namesHTTP looks for "HTTP/", in any case.
func namesHTTP(b []byte) bool {
	for {
		i := bytes.IndexByte(b, '/')
		if i < 0 {
			return false
		}
		if i >= 4 && bytes.EqualFold(b[i-4:i], []byte("http")) {
			return true
		}
		b = b[i+1:]
	}
}

// How a method looks that a server may know.
const (
	minVerb     = 3
	maxVerb     = 32 // bytes of a line that are looked at
	verbLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
)
