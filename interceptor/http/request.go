package http

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/http/wire"
	"github.com/chaperone-dev/chaperone/pkg/flow"
	"github.com/chaperone-dev/chaperone/rules"
)

// compose makes the request that is asked about. body begins with the bytes
// that stand behind its head.
func (e *Engine) compose(body []byte) error {
	u := &e.up
	raw := string(u.req.Path)
	literal, loose := raw, raw
	if string(u.req.Method) != "CONNECT" {
		var err error
		if literal, loose, err = wire.Readings(raw); err != nil {
			return err
		}
	}
	method := string(u.req.Method)
	r := &flow.Request{
		ID: e.session.NextRequest(), Protocol: "http", Kind: flow.KindHTTP, Text: method + " " + raw,
		HTTP: &flow.HTTP{
			Method: method, Host: hostname(string(u.req.Host)), Path: literal,
			Query: redactQuery(string(u.req.Query)), Headers: headers(&u.head),
		},
		Changes: method != "GET" && method != "HEAD" && method != "OPTIONS",
	}
	if method == "CONNECT" {
		r.Effects = []flow.Effect{{Action: flow.Unknown, Via: "connect"}}
	} else if u.req.Upgrade != nil && !offersH2C(&u.req) {
		r.Effects = []flow.Effect{{Action: flow.Unknown, Via: "upgrade"}}
		r.Changes = true
	}
	r.Fingerprint = e.fingerprint(r, body)
	u.asked, u.method = r, wire.MethodOf(u.req.Method)
	u.durable = false
	var err error
	u.others, err = e.readings(r, loose)
	return err
}

// readings are the other requests that a server may understand: another path, and another
// method or path where a field overrides it. Nearly every request has none.
func (e *Engine) readings(r *flow.Request, loose string) ([]*flow.Request, error) {
	paths, methods := []string{r.HTTP.Path}, []string{r.HTTP.Method}
	if loose != r.HTTP.Path {
		paths = append(paths, loose)
	}
	for _, f := range e.up.head.Fields {
		switch {
		case f.Is("x-http-method-override"), f.Is("x-http-method"), f.Is("x-method-override"):
			methods = append(methods, strings.ToUpper(string(f.Value)))
			r.Changes = true
		case f.Is("x-original-url"), f.Is("x-rewrite-url"):
			path, _, _ := strings.Cut(string(f.Value), "?")
			one, other, err := wire.Readings(path)
			if err != nil {
				return nil, err
			}
			paths = append(paths, one, other)
		}
	}
	if len(paths)*len(methods) > maxReadings {
		return nil, wire.ErrPath
	}
	if len(paths)+len(methods) == 2 {
		return nil, nil
	}
	var all []*flow.Request
	for _, path := range paths {
		for _, method := range methods {
			other, h := *r, *r.HTTP
			h.Path, h.Method, other.HTTP = path, method, &h
			if path != r.HTTP.Path || method != r.HTTP.Method {
				all = append(all, &other)
			}
		}
	}
	return all, nil
}

// fingerprint is the same for requests that do the same: method, host, target,
// type and body. A body that is not seen before the question makes the request
// like no other, so that no approval covers what nobody has looked at.
func (e *Engine) fingerprint(r *flow.Request, body []byte) string {
	u := &e.up
	sum := sha256.New()
	for _, part := range []string{r.HTTP.Method, r.HTTP.Host, string(u.req.Target), r.HTTP.Path} {
		sum.Write(strconv.AppendInt(nil, int64(len(part)), 10))
		sum.Write([]byte{':'})
		sum.Write([]byte(part))
	}
	for _, name := range []string{"content-type", "x-http-method-override", "upgrade"} {
		for _, f := range u.head.Fields {
			if f.Is(name) {
				sum.Write(f.Line)
			}
		}
	}
	n := seen(&u.req)
	sum.Write([]byte("\r\n"))
	if u.req.Framing.By != wire.Empty && n == 0 {
		sum.Write([]byte(e.session.ID + "/" + strconv.FormatUint(r.ID, 10)))
	}
	sum.Write(body[:n])
	return hex.EncodeToString(sum.Sum(nil))
}

// hostname is a Host field as rules compare it: lower case, no port 80, no trailing dot.
func hostname(host string) string {
	host = strings.ToLower(host)
	name, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name, port = host[:i], host[i:]
	}
	name = strings.TrimSuffix(name, ".")
	if port == ":80" || port == ":" {
		port = ""
	}
	return name + port
}

// headers copies the fields for rules to look at, names in lower case.
func headers(h *wire.Head) map[string][]string {
	all := make(map[string][]string, len(h.Fields))
	values := make([]string, 0, len(h.Fields))
	for _, f := range h.Fields {
		name := strings.ToLower(string(f.Name))
		value := strings.ToValidUTF8(string(f.Value), "\ufffd")
		if before, ok := all[name]; ok {
			all[name] = append(before, value)
			continue
		}
		values = append(values, value)
		all[name] = values[len(values)-1 : len(values) : len(values)]
	}
	return all
}

// offersH2C says that Upgrade only offers HTTP/2, which many clients do on every first
// request. The offer is taken out, and the request is one like any other (RFC 9110 7.8).
func offersH2C(r *wire.Request) bool { return strings.EqualFold(string(r.Upgrade), "h2c") }

// checkRaise denies what would leave HTTP, unless a rule by name allowed it and
// nothing is to be masked: behind it nobody can look.
func (e *Engine) checkRaise() {
	u := &e.up
	connect := string(u.req.Method) == "CONNECT"
	if !connect && (u.req.Upgrade == nil || offersH2C(&u.req)) {
		return
	}
	why := ""
	switch {
	case u.answer.Rule == "":
		why = "leaving HTTP (Upgrade or CONNECT) needs a rule that allows it"
	case !e.session.Masks.Empty():
		why = "leaving HTTP (Upgrade or CONNECT) is refused where fields are masked"
	case u.req.Framing.By != wire.Empty || u.req.Expect:
		why = "a request that leaves HTTP has no body"
	default:
		return
	}
	u.answer = interceptor.Answer{Verdict: flow.Deny, Cause: interceptor.ByRule, Rule: u.answer.Rule, Ask: u.answer.Ask, Message: why}
}

// editRequest prepares the head as it is sent and as it is taped. wire stays empty when it
// is sent as it came. Where bodies are masked the server must answer with
// the whole, plainly encoded body.
func (e *Engine) editRequest(masks *rules.Masks) {
	u := &e.up
	plainly := masksBodies(masks)
	h2c := u.req.Upgrade != nil && offersH2C(&u.req)
	method, rest := len(u.req.Method)+1, len(u.head.Start)-len(" HTTP/1.1")
	u.taped = append(u.taped[:0], u.head.Start[:method]...)
	u.taped = appendTarget(u.taped, u.req.Target)
	u.taped = append(append(u.taped, u.head.Start[rest:]...), "\r\n"...)
	u.wire = append(append(u.wire[:0], u.head.Start...), "\r\n"...)
	for _, f := range u.head.Fields {
		u.taped = appendBlotted(u.taped, f)
		u.wire = appendForwarded(u.wire, f, plainly, h2c)
	}
	u.taped = append(u.taped, "\r\n"...)
	if plainly {
		u.wire = append(u.wire, "Accept-Encoding: identity\r\n"...)
	}
	u.wire = append(u.wire, "\r\n"...)
	if len(u.wire) == len(u.head.Raw) && !plainly {
		u.wire = u.wire[:0]
	}
}

// appendForwarded appends a field as it is sent, if it is.
func appendForwarded(b []byte, f wire.Field, plainly, h2c bool) []byte {
	switch {
	case plainly && (f.Is("accept-encoding") || f.Is("range") || f.Is("if-range") || f.Is("te") || f.Is("a-im")):
		return b
	case h2c && (f.Is("upgrade") || f.Is("http2-settings")):
		return b
	case h2c && f.Is("connection"):
		return appendConnection(b, f)
	}
	return append(b, f.Line...)
}

// appendConnection appends a Connection field without what offers HTTP/2.
func appendConnection(b []byte, f wire.Field) []byte {
	start := len(b)
	b = append(b, "Connection:"...)
	empty := len(b)
	for one := range strings.SplitSeq(string(f.Value), ",") {
		one = strings.TrimSpace(one)
		if one == "" || strings.EqualFold(one, "upgrade") || strings.EqualFold(one, "http2-settings") {
			continue
		}
		if len(b) > empty {
			b = append(b, ',')
		}
		b = append(append(b, ' '), one...)
	}
	if len(b) == empty {
		return b[:start]
	}
	return append(b, "\r\n"...)
}

// masksBodies says that something inside bodies is to be hidden.
func masksBodies(m *rules.Masks) bool {
	set, _ := m.Detectors()
	return set != 0 || len(m.JSON()) > 0
}
