package wire

import (
	"bytes"
	"strconv"
)

// The faults of a request.
const (
	ErrTLS          = Fault("the client speaks TLS and the target is declared as clear HTTP")
	ErrHTTP2        = Fault("HTTP/2 is not spoken here without TLS")
	ErrVersion      = Fault("the version is neither HTTP/1.1 nor HTTP/1.0")
	ErrMethod       = Fault("the method is malformed")
	ErrTarget       = Fault("the request target is malformed")
	ErrHost         = Fault("there is not exactly one valid Host field")
	ErrUpgrade      = Fault("Upgrade has no meaning in HTTP/1.0")
	ErrHostDiffers  = Fault("the request target and Host name different servers")
	ErrLength       = Fault("Content-Length is malformed or repeated")
	ErrCoding       = Fault("the Transfer-Encoding is not exactly chunked")
	ErrLengthCoding = Fault("Content-Length and Transfer-Encoding stand together")
	ErrLookalike    = Fault("a field name imitates one that frames or steers the message")
	ErrConnection   = Fault("Connection names a field that frames the message")
	ErrExpect       = Fault("Expect asks for something else than 100-continue")
)

// Opening says what is wrong with the first byte of a request, before there is a line to read.
func Opening(c byte) error {
	switch {
	case c == 0x16: // a TLS handshake record, RFC 8446 5.1
		return ErrTLS
	case c < 'A' || c > 'Z':
		return ErrMethod
	}
	return nil
}

// Request is what a request head says. Slices point into the head.
type Request struct {
	Method  []byte
	Target  []byte
	Path    []byte // of Target, undecoded; "*" and an authority as they are
	Query   []byte // of Target, without "?"
	Host    []byte // of Host, as written
	Old     bool   // HTTP/1.0
	Framing Framing
	Close   bool // the connection ends after the response
	Expect  bool // 100-continue
	Upgrade []byte
}

// Read reads a request head. The error is a Fault.
func (r *Request) Read(h *Head) error {
	*r = Request{}
	if err := r.start(h.Start); err != nil {
		return err
	}
	if err := imitation(h); err != nil {
		return err
	}
	if err := r.hosts(h); err != nil {
		return err
	}
	if err := r.framing(h); err != nil {
		return err
	}
	return r.connection(h)
}

// start reads the request line.
func (r *Request) start(line []byte) error {
	method, rest, ok := bytes.Cut(line, []byte{' '})
	target, version, also := bytes.Cut(rest, []byte{' '})
	if !ok || !also {
		return ErrStartLine
	}
	switch string(version) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		r.Old = true
	case "HTTP/2.0":
		return ErrHTTP2
	default:
		return ErrVersion
	}
	if len(method) == 0 || len(method) > 24 {
		return ErrMethod
	}
	for _, c := range method {
		if (c < 'A' || c > 'Z') && c != '-' {
			return ErrMethod
		}
	}
	r.Method = method
	return r.target(target)
}

// target takes the request target apart, by its form (RFC 9112 3.2).
func (r *Request) target(t []byte) error {
	if len(t) == 0 || len(t) > maxTarget {
		return ErrTarget
	}
	for _, c := range t {
		if c <= ' ' || c >= 0x7f || c == '#' || c == '\\' || c == '"' || c == '<' || c == '>' {
			return ErrTarget
		}
	}
	r.Target = t
	switch {
	case string(r.Method) == "CONNECT":
		r.Path, r.Host = t, t
		return nil
	case string(t) == "*" && string(r.Method) == "OPTIONS":
		r.Path = t
		return nil
	case t[0] != '/':
		if len(t) < 8 || !equalFold(t[:7], "http://") {
			return ErrTarget
		}
		end := bytes.IndexAny(t[7:], "/?")
		if end < 0 {
			return ErrTarget
		}
		r.Host, t = t[7:7+end], t[7+end:]
		if t[0] != '/' {
			return ErrTarget
		}
	}
	r.Path, r.Query, _ = bytes.Cut(t, []byte{'?'})
	return nil
}

// hosts checks Host, and that an absolute target says the same.
func (r *Request) hosts(h *Head) error {
	host, n := h.Only("host")
	if n != 1 || !authority(host) {
		return ErrHost
	}
	if r.Host != nil && !bytes.EqualFold(r.Host, host) {
		return ErrHostDiffers
	}
	r.Host = host
	return nil
}

// authority says whether b is host or host:port, without user info.
func authority(b []byte) bool {
	if len(b) == 0 || len(b) > 255+6 {
		return false
	}
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case c == '.', c == '-', c == '_', c == ':', c == '[', c == ']':
		default:
			return false
		}
	}
	return true
}

// framing finds how the body is delimited.
func (r *Request) framing(h *Head) (err error) {
	r.Framing, err = framing(h, r.Old)
	return err
}

func (r *Request) connection(h *Head) error {
	r.Close = h.Lists("connection", "close") || r.Old && !h.Lists("connection", "keep-alive")
	for _, name := range []string{"content-length", "transfer-encoding", "host"} {
		if h.Lists("connection", name) {
			return ErrConnection
		}
	}
	if value, n := h.Only("expect"); n > 0 {
		if n > 1 || !equalFold(value, "100-continue") {
			return ErrExpect
		}
		r.Expect = !r.Old
	}
	if value, n := h.Only("upgrade"); n > 0 {
		if r.Old {
			return ErrUpgrade
		}
		r.Upgrade = value
	}
	return nil
}

// How a body is delimited.
const (
	Empty Delimiter = iota
	ByLength
	ByChunks
	ByClose // responses only
)

// Delimiter says where a body ends.
type Delimiter uint8

// Framing is a body's delimiter; Length is in bytes, for ByLength.
type Framing struct {
	By     Delimiter
	Length int64
}

// framing is RFC 9112 6.3 without its leniencies. old: HTTP/1.0.
func framing(h *Head, old bool) (Framing, error) {
	length, lengths := h.Only("content-length")
	coding, codings := h.Only("transfer-encoding")
	switch {
	case lengths > 0 && codings > 0:
		return Framing{}, ErrLengthCoding
	case codings > 1, codings == 1 && (old || !equalFold(coding, "chunked")):
		return Framing{}, ErrCoding
	case codings == 1:
		return Framing{By: ByChunks}, nil
	case lengths > 1:
		return Framing{}, ErrLength
	case lengths == 0:
		return Framing{}, nil
	}
	for _, c := range length {
		if c < '0' || c > '9' {
			return Framing{}, ErrLength
		}
	}
	n, err := strconv.ParseInt(string(length), 10, 62)
	if err != nil {
		return Framing{}, ErrLength
	}
	if n == 0 {
		return Framing{}, nil
	}
	return Framing{By: ByLength, Length: n}, nil
}
