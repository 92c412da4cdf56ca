package http

import (
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
		ID: e.session.NextRequest(), Protocol: "http", Kind: flow.KindHTTP, Text: method + " " + literal,
		HTTP: &flow.HTTP{
			Method: method, Host: hostname(&u.req), Path: literal,
			Query: redactQuery(plainly(string(u.req.Query))), Headers: headers(&u.head),
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
	r.Reveal = u.reveal(body[:seen(&u.req)])
	u.asked, u.method = r, wire.MethodOf(u.req.Method)
	u.durable, u.last = false, couldBeRequest(&u.req, body)
	var err error
	u.others, err = e.readings(r, loose, body[:seen(&u.req)])
	return err
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
// nothing is to be masked: behind it nobody can look. The host's log has such a denial as rule "(http)".
func (e *Engine) checkRaise() error {
	u := &e.up
	connect := string(u.req.Method) == "CONNECT"
	if !connect && (u.req.Upgrade == nil || offersH2C(&u.req)) {
		return nil
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
		return nil
	}
	u.answer = interceptor.Answer{Verdict: flow.Deny, Cause: interceptor.ByRule, Rule: u.answer.Rule, Ask: u.answer.Ask, Message: why}
	return e.session.Refused(u.asked, "(http)", why)
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
		if !u.last || !f.Is("connection") {
			u.wire = appendForwarded(u.wire, f, plainly, h2c)
		}
	}
	u.taped = append(u.taped, "\r\n"...)
	if u.last {
		u.wire = append(u.wire, "Connection: close\r\n"...)
	}
	if plainly {
		u.wire = append(u.wire, "Accept-Encoding: identity\r\n"...)
	}
	u.wire = append(u.wire, "\r\n"...)
	if len(u.wire) == len(u.head.Raw) && !plainly && !u.last {
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
