package wire

import "encoding/binary"

// MaxStartup is the longest startup packet a server reads (MAX_STARTUP_PACKET_LENGTH), in bytes.
const MaxStartup = 10000

// Codes that stand where a startup packet has its protocol version.
const (
	CancelRequest = 80877102
	SSLRequest    = 80877103
	GSSENCRequest = 80877104
)

// Startup is a client's first packet.
//
//	int32 length (counts itself) | int32 code | body
type Startup struct {
	Code   uint32
	Packet []byte            // as it came
	Params map[string]string // of a StartupMessage
	PID    uint32            // of a CancelRequest
	Key    []byte            // of a CancelRequest: 4 bytes in protocol 3.0, up to 256 in 3.2
}

// StartupSize is the size in bytes of the packet that b starts with; b holds at least 4.
func StartupSize(b []byte) (int, error) {
	n := binary.BigEndian.Uint32(b)
	if n < 8 || n > MaxStartup {
		return 0, ErrMalformed
	}
	return int(n), nil
}

// ParseStartup reads a whole packet. The result refers to it.
func ParseStartup(packet []byte) (*Startup, error) {
	s := &Startup{Code: binary.BigEndian.Uint32(packet[4:]), Packet: packet}
	body := packet[8:]
	switch s.Code {
	case SSLRequest, GSSENCRequest:
		if len(body) != 0 {
			return nil, ErrMalformed
		}
		return s, nil
	case CancelRequest:
		if len(body) < 5 || len(body) > 4+256 {
			return nil, ErrMalformed
		}
		s.PID, s.Key = binary.BigEndian.Uint32(body), body[4:]
		return s, nil
	}
	return s, s.params(body)
}

// params reads name and value pairs up to the closing zero byte.
func (s *Startup) params(body []byte) error {
	s.Params = map[string]string{}
	for {
		name, rest, ok := CString(body)
		if !ok {
			return ErrMalformed
		}
		if len(name) == 0 {
			if len(rest) != 0 {
				return ErrMalformed
			}
			return nil
		}
		value, rest, ok := CString(rest)
		if !ok {
			return ErrMalformed
		}
		if _, twice := s.Params[string(name)]; twice {
			return ErrMalformed // two readers might take different ones
		}
		s.Params[string(name)] = string(value)
		body = rest
	}
}

// Major is the protocol's major version.
func (s *Startup) Major() uint32 { return s.Code >> 16 }

// AppendCancel appends a CancelRequest.
func AppendCancel(dst []byte, pid uint32, key []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(12+len(key)))
	dst = binary.BigEndian.AppendUint32(dst, CancelRequest)
	dst = binary.BigEndian.AppendUint32(dst, pid)
	return append(dst, key...)
}
