package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/http/wire"
)

// problem is a response of our own: RFC 9457 problem details.
type problem struct {
	status int
	kind   string // the last word of its type
	title  string
	detail string
	rule   string
	ask    string
	retry  int  // seconds; 0: it makes no sense
	shut   bool // the connection ends after it
	linger bool // but not before the client has closed it: it is still sending
	old    bool // the client speaks HTTP/1.0 and asked to keep the connection
}

// retryAfter is how long a client should wait before it repeats a request that
// nobody has decided yet, in seconds.
const retryAfter = 30

// refusal is the problem of a denied request.
func refusal(a interceptor.Answer) problem {
	p := problem{status: 403, kind: "refused", title: "Refused by policy", detail: a.Message, rule: a.Rule, ask: a.Ask}
	switch a.Cause {
	case interceptor.ByPerson:
		p.kind, p.title = "denied", "Denied by an approver"
		if p.detail == "" {
			p.detail = "an approver denied this request and gave no reason"
		}
	case interceptor.ByTimeout:
		p.kind, p.title, p.retry = "undecided", "Nobody decided in time", retryAfter
		p.detail = "repeat the identical request once " + ticket(a.Ask) + " is approved; do not rephrase it"
	case interceptor.ByCancel:
		p.kind, p.title, p.retry = "cancelled", "The request was given up while it was held", retryAfter
	case interceptor.ByIgnorance:
		p.kind, p.title = "not-understood", "Refused because it could not be judged"
	}
	if a.Unrecorded {
		p = unrecorded()
	}
	if p.detail == "" {
		p.detail = "the policy does not allow this request"
	}
	return p
}

func ticket(ask string) string {
	if ask == "" {
		return "it"
	}
	return "ask " + ask
}

// malformed is the problem of a request nobody can be sure about.
func malformed(fault error) problem {
	p := problem{status: 400, kind: "malformed", title: "Malformed request", detail: fault.Error(), shut: true}
	switch fault {
	case wire.ErrHTTP2, wire.ErrVersion:
		p.status, p.title = 505, "Version not supported"
	case wire.ErrHeadSize, wire.ErrFields:
		p.status, p.title = 431, "Header too large"
	case wire.ErrExpect:
		p.status, p.title = 417, "Expectation failed"
	}
	return p
}

// unrecorded is the problem of a request that the record has no room for: it is nobody's
// fault here, and may be repeated.
func unrecorded() problem {
	return problem{
		status: 503, kind: "unrecorded", title: "The request cannot be recorded",
		detail: "nothing is forwarded that cannot be recorded; repeat the identical request when the record can be written", retry: retryAfter, shut: true,
	}
}

// unreachable is the problem of a server that cannot be dialled.
func unreachable(server netip.AddrPort, why error) problem {
	p := problem{status: 502, kind: "unreachable", title: "Bad Gateway", shut: true}
	p.detail = fmt.Sprintf("the server %s cannot be reached: %s", server, dialFault(why))
	return p
}

// dialFault is why a connection failed, in the kernel's words where it has some.
func dialFault(err error) string {
	var errno syscall.Errno
	var late interface{ Timeout() bool }
	switch {
	case errors.As(err, &late) && late.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &errno):
		return errno.Error()
	}
	return "the connection failed"
}

// withheld is the problem that stands for a response which may not pass.
func withheld(why string) problem {
	return problem{status: 502, kind: "withheld", title: "Response withheld", detail: why, shut: true}
}

// append writes the response; a HEAD request gets no body.
func (p problem) append(b []byte, method wire.Method) []byte {
	body, _ := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Rule   string `json:"rule,omitempty"`
		Ask    string `json:"ask,omitempty"`
	}{"urn:chaperone:" + p.kind, p.title, p.status, p.detail, p.rule, p.ask}) // plain strings always encode
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(p.status), 10)
	b = append(b, ' ')
	b = append(b, phrase(p.status)...)
	b = append(b, "\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	if p.retry > 0 {
		b = append(b, "\r\nRetry-After: "...)
		b = strconv.AppendInt(b, int64(p.retry), 10)
	}
	switch {
	case p.shut:
		b = append(b, "\r\nConnection: close"...)
	case p.old:
		b = append(b, "\r\nConnection: keep-alive"...)
	}
	b = append(b, "\r\n\r\n"...)
	if method == wire.HeadMethod {
		return b
	}
	return append(b, body...)
}

func phrase(status int) string {
	switch status {
	case 400:
		return "Bad Request"
	case 403:
		return "Forbidden"
	case 417:
		return "Expectation Failed"
	case 431:
		return "Request Header Fields Too Large"
	case 503:
		return "Service Unavailable"
	case 505:
		return "HTTP Version Not Supported"
	}
	return "Bad Gateway"
}
