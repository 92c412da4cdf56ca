package wire

// ErrStatus is a response whose status line is malformed.
const ErrStatus = Fault("the status line is malformed")

// Response is what a response head says.
type Response struct {
	Status  int
	Reason  []byte
	Old     bool // HTTP/1.0
	Framing Framing
	Close   bool // the server closes after it
}

// Read reads a response head to a request of that method. The error is a Fault.
func (r *Response) Read(h *Head, method Method) error {
	*r = Response{}
	if err := r.start(h.Start); err != nil {
		return err
	}
	if err := imitation(h); err != nil {
		return err
	}
	r.Close = h.Lists("connection", "close") || r.Old && !h.Lists("connection", "keep-alive")
	f, err := framing(h, r.Old)
	switch {
	case err != nil:
		return err
	case r.Status < 200, r.Status == 204, r.Status == 304, method == HeadMethod,
		method == ConnectMethod && r.Status < 300:
		return nil // no body, whatever the fields say (RFC 9112 6.3)
	}
	r.Framing = f
	if _, n := h.Only("content-length"); f.By == Empty && n == 0 {
		r.Framing.By = ByClose
	}
	return nil
}

// start reads "HTTP/1.1 200 OK"; the reason may be missing, its space as well.
func (r *Response) start(line []byte) error {
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' {
		return ErrStatus
	}
	switch line[7] {
	case '1':
	case '0':
		r.Old = true
	default:
		return ErrVersion
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return ErrStatus
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 || r.Status > 599 {
		return ErrStatus
	}
	if len(line) > 12 {
		if line[12] != ' ' {
			return ErrStatus
		}
		r.Reason = line[13:]
	}
	for _, c := range r.Reason {
		if c < ' ' && c != '\t' || c == 0x7f {
			return ErrStatus
		}
	}
	return nil
}

// Method is what of a method frames its response.
type Method uint8

// The methods whose responses are framed in their own way.
const (
	OtherMethod Method = iota
	HeadMethod
	ConnectMethod
)

// MethodOf sorts a method.
func MethodOf(method []byte) Method {
	switch string(method) {
	case "HEAD":
		return HeadMethod
	case "CONNECT":
		return ConnectMethod
	}
	return OtherMethod
}
