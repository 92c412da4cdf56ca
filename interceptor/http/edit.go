package http

import (
	"slices"
	"strings"

	"github.com/chaperone-dev/chaperone/interceptor/http/wire"
)

// blot stands on tape for a credential.
const blot = "[redacted]"

// secretFields are header fields whose values are credentials, in lower case.
var secretFields = []string{
	"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key", "apikey",
	"x-auth-token", "x-access-token", "x-amz-security-token", "x-vault-token", "x-csrf-token", "x-xsrf-token",
	"private-token", "job-token", "x-github-token", "x-goog-api-key", "x-goog-iam-authorization-token",
	"x-forwarded-authorization", "authentication-info", "proxy-authentication-info", "sec-websocket-key",
}

// secretWords betray a field or parameter that holds a credential.
var secretWords = []string{"token", "secret", "passw", "passphrase", "apikey", "api-key", "api_key", "credential", "signature", "session", "private", "auth"}

// secret says whether a header field's value is a credential.
func secret(f wire.Field) bool {
	for _, name := range secretFields {
		if f.Is(name) {
			return true
		}
	}
	return betrays(f.Name)
}

// betrays looks for a word without case and without allocating.
func betrays(name []byte) bool {
	for _, w := range secretWords {
		for i := 0; i+len(w) <= len(name); i++ {
			if strings.EqualFold(string(name[i:i+len(w)]), w) {
				return true
			}
		}
	}
	return false
}

// appendBlotted appends a header field, its value blotted out where it is a credential.
func appendBlotted(b []byte, f wire.Field) []byte {
	switch {
	case secret(f):
		b = append(b, f.Name...)
		return append(b, ": "+blot+"\r\n"...)
	case f.Is("link"):
		b = append(append(b, f.Name...), ": "...)
		return append(appendLinks(b, string(f.Value)), "\r\n"...)
	case pointsElsewhere(f):
		b = append(append(b, f.Name...), ": "...)
		return append(appendTarget(b, f.Value), "\r\n"...)
	}
	return append(b, f.Line...)
}

// pointsElsewhere says that a field's value is a URL, whose query may hold a credential.
func pointsElsewhere(f wire.Field) bool {
	return f.OverridesPath() || slices.ContainsFunc(pointers, f.Is)
}

// pointers are fields whose values are URLs.
var pointers = []string{"location", "referer", "content-location", "refresh", "destination", "x-amz-copy-source", "x-ms-copy-source", "x-goog-copy-source", "x-copy-from"}

// appendLinks appends the value of a Link field (RFC 8288): each URL in it, between < and >, as a target. One
// that does not end is blotted out.
func appendLinks(b []byte, value string) []byte {
	for {
		before, rest, more := strings.Cut(value, "<")
		b = append(b, before...)
		if !more {
			return b
		}
		target, after, ends := strings.Cut(rest, ">")
		if !ends {
			return append(b, blot...)
		}
		b = append(appendTarget(append(b, '<'), []byte(target)), '>')
		value = after
	}
}

// appendTarget appends a request target or URL without fragment, the values of secret parameters blotted out.
func appendTarget(b []byte, target []byte) []byte {
	whole, _, _ := strings.Cut(string(target), "#") // a fragment of a Location may be a token
	path, query, ok := strings.Cut(whole, "?")
	b = append(b, path...)
	if !ok {
		return b
	}
	return append(append(b, '?'), redactQuery(query)...)
}

// redactQuery blots out the values of parameters that hold credentials. The
// names are compared after decoding; what cannot be decoded is blotted out.
func redactQuery(query string) string {
	if query == "" {
		return ""
	}
	var b strings.Builder
	for i, pair := range strings.FieldsFunc(query, func(c rune) bool { return c == '&' || c == ';' }) {
		if i > 0 {
			b.WriteByte('&')
		}
		name, value, ok := strings.Cut(pair, "=")
		plain, valid := unescape(name)
		if ok && value != "" && (!valid || secretParameter(plain)) {
			value = blot
		}
		b.WriteString(name)
		if ok {
			b.WriteByte('=')
			b.WriteString(value)
		}
	}
	return b.String()
}

func secretParameter(name string) bool {
	switch lower := strings.ToLower(name); lower {
	case "key", "sig", "code", "pwd", "pass", "jwt", "sid", "state", "x-amz-credential":
		return true
	}
	return betrays([]byte(name))
}

// unescape decodes %XX and +.
func unescape(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) || nibble(s[i+1]) < 0 || nibble(s[i+2]) < 0 {
			return "", false
		}
		b = append(b, byte(nibble(s[i+1])<<4|nibble(s[i+2])))
		i += 2
	}
	return string(b), true
}

func nibble(c byte) int { return strings.IndexByte("0123456789abcdef", c|0x20) }
