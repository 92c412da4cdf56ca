package http

import (
	"bytes"
	"strings"

	"github.com/chaperone-dev/chaperone/interceptor/http/wire"
	"github.com/chaperone-dev/chaperone/rules"
)

// passage is how a response body passes.
type passage uint8

const (
	verbatim  passage = iota
	asJSON            // through the JSON walker
	asText            // through the detectors
	untrailed         // as it is, without trailer fields
	emptied           // the status and the fields pass, the body does not
	refused           // not at all
)

// treatment decides how a response passes where bodies are masked. What cannot be looked into does
// not pass: a server can be asked for the same data in another type, another
// coding or in pieces, and all three are in the client's hand.
func treatment(h *wire.Head, r *wire.Response, x *exchange) (passage, string) {
	switch {
	case r.Framing.By == wire.Empty || x.masks.Empty():
		return verbatim, ""
	case masksBodies(x.masks):
		how, why := lookInto(h, r, x)
		if how == refused {
			return unreadable(r, why)
		}
		return how, why
	case r.Framing.By == wire.ByChunks:
		return untrailed, "" // a masked field could come as a trailer
	}
	return verbatim, ""
}

// unreadable is the passage of a body that cannot be looked into.
func unreadable(r *wire.Response, why string) (passage, string) {
	if r.Status >= 300 {
		return emptied, why // a redirect and an error say enough with their status
	}
	return refused, why
}

func lookInto(h *wire.Head, r *wire.Response, x *exchange) (passage, string) {
	if coding, n := h.Only("content-encoding"); n > 1 || n == 1 && !bytes.EqualFold(coding, []byte("identity")) {
		return refused, "fields are masked here and the server encoded the body"
	}
	if _, n := h.Only("content-range"); n > 0 || r.Status == 206 || r.Status == 226 {
		return refused, "fields are masked here and the server sent a part of the body"
	}
	value, n := h.Only("content-type")
	if n != 1 {
		return refused, "fields are masked here and the body has no one type"
	}
	kind, charset := mediaType(string(value))
	switch {
	case isJSON(kind) && (charset == "" || charset == "utf-8"):
		return asJSON, ""
	case len(x.masks.JSON()) > 0:
		return refused, "fields of JSON are masked here and the body is not JSON"
	case isText(kind) && (charset == "" || charset == "utf-8" || charset == "us-ascii" || charset == "iso-8859-1" || charset == "windows-1252"):
		return asText, ""
	}
	return refused, "values are masked here and the body's type is not one that can be read"
}

// mediaType is a Content-Type in lower case, and its charset.
func mediaType(value string) (kind, charset string) {
	kind, parameters, _ := strings.Cut(strings.ToLower(value), ";")
	for p := range strings.SplitSeq(parameters, ";") {
		name, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.TrimSpace(name) == "charset" { // the blanks are not allowed, and taken by some
			if charset != "" {
				return "", "" // two charsets: nobody knows
			}
			charset = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return strings.TrimSpace(kind), charset
}

func isJSON(kind string) bool {
	switch kind {
	case "application/json", "text/json", "application/x-ndjson", "application/ndjson", "application/jsonl",
		"application/x-jsonlines", "application/json-seq", "application/stream+json":
		return true
	}
	return strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")
}

func isText(kind string) bool {
	switch kind {
	case "application/xml", "application/javascript", "application/x-javascript", "application/x-www-form-urlencoded",
		"application/yaml", "application/x-yaml", "application/toml", "application/sql", "application/graphql", "image/svg+xml":
		return true
	}
	return strings.HasPrefix(kind, "text/") || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+xml")
}

// digests are fields that say something of the body as the server had it: they would be
// wrong, and let a client check its guesses.
var digests = []string{"content-md5", "digest", "content-digest", "repr-digest", "trailer"}

// unscanned are fields detectors leave alone: they hold times, numbers and names
// that clients and caches read.
var unscanned = []string{
	"content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "keep-alive", "date", "expires",
	"last-modified", "age", "etag", "cache-control", "upgrade", "sec-websocket-accept", "retry-after", "vary", "allow",
	"accept-ranges", "strict-transport-security", "alt-svc", "server",
}

// editResponse prepares a response head as it is sent and as it is taped, and
// says whether it is sent otherwise than it came.
func (e *Engine) editResponse(x *exchange, how passage) (changed bool) {
	d := &e.down
	d.wire, d.taped = d.wire[:0], d.taped[:0]
	d.bare = how != verbatim && (x.old || d.resp.Old)
	d.wire, changed = appendStatus(d.wire, d, x.masks)
	d.taped = append(d.taped, d.wire...)
	masked := 0
	for _, f := range d.head.Fields {
		if how != verbatim && (reframed(f, d.bare) || how == emptied && f.Is("content-encoding")) {
			changed = true
			continue
		}
		start := len(d.wire)
		var hits int
		d.wire, hits = appendMasked(d.wire, f, x.masks)
		masked += hits
		if secret(f) || hits == 0 && pointsElsewhere(f) {
			d.taped = appendBlotted(d.taped, f)
			continue
		}
		d.taped = append(d.taped, d.wire[start:]...)
	}
	tail := "\r\n"
	switch {
	case d.bare:
		tail = "Connection: close\r\n\r\n"
	case how != verbatim:
		tail = "Transfer-Encoding: chunked\r\n\r\n"
	}
	d.wire, d.taped = append(d.wire, tail...), append(d.taped, tail...)
	if masked > 0 {
		e.session.Meter.Masked(e.session.Flow.Identity, e.session.Flow.Target, masked)
	}
	return changed || masked > 0 || how != verbatim
}

// appendStatus appends the status line; detectors look at its reason.
func appendStatus(b []byte, d *server, masks *rules.Masks) ([]byte, bool) {
	set, with := masks.Detectors()
	if set == 0 || !set.Find(d.resp.Reason) {
		return append(append(b, d.head.Start...), "\r\n"...), false
	}
	b = append(b, d.head.Start[:len(d.head.Start)-len(d.resp.Reason)]...)
	b, _ = set.Scrub(b, d.resp.Reason, with)
	return append(b, "\r\n"...), true
}

// reframed says that a field does not hold for a scrubbed body.
func reframed(f wire.Field, old bool) bool {
	if f.Is("content-length") || f.Is("transfer-encoding") || f.Is("accept-ranges") || old && f.Is("connection") {
		return true
	}
	for _, name := range digests {
		if f.Is(name) {
			return true
		}
	}
	return false
}

// appendMasked appends a field with its value masked, where it is to be.
func appendMasked(b []byte, f wire.Field, masks *rules.Masks) ([]byte, int) {
	if masks.Empty() {
		return append(b, f.Line...), 0
	}
	name := strings.ToLower(string(f.Name))
	if with, ok := masks.Header(name); ok && !structural(name) {
		b = append(append(b, f.Name...), ": "...)
		b = with.Text(b, f.Value)
		return append(b, "\r\n"...), 1
	}
	set, with := masks.Detectors()
	if set == 0 || scannedNever(name) || !set.Find(f.Value) {
		return append(b, f.Line...), 0
	}
	b = append(append(b, f.Name...), ": "...)
	b, hits := set.Scrub(b, f.Value, with)
	return append(b, "\r\n"...), hits
}

// structural fields frame the message; masking one would break it.
func structural(name string) bool {
	switch name {
	case "content-length", "transfer-encoding", "connection", "content-type", "content-encoding", "upgrade":
		return true
	}
	return false
}

func scannedNever(name string) bool {
	for _, n := range unscanned {
		if n == name {
			return true
		}
	}
	return false
}
