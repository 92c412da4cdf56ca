package enroll

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Messages of sock_diag(7), from linux/sock_diag.h.
const (
	sockDiagByFamily = 20
	sockDestroy      = 21 // kernel 4.5 for TCP, 4.9 for UDP, with CONFIG_INET_DIAG_DESTROY
)

// diagID is struct inet_diag_sockid: addresses, ports, interface and cookie.
type diagID [48]byte

// diagRequest is struct inet_diag_req_v2 (linux/inet_diag.h):
//
//	0        1          2     3     4        8    56
//	| family | protocol | ext | pad | states | id |
//
// pad is the protocol number where protocol is IPPROTO_RAW.
type diagRequest struct {
	family, protocol, pad uint8
	states                uint32
	id                    diagID
}

func (r diagRequest) Len() int { return 56 }

func (r diagRequest) Serialize() []byte {
	b := make([]byte, r.Len())
	b[0], b[1], b[3] = r.family, r.protocol, r.pad
	binary.NativeEndian.PutUint32(b[4:], r.states)
	copy(b[8:], r.id[:])
	return b
}

// diagSocket is what is needed of struct inet_diag_msg.
type diagSocket struct {
	request diagRequest // that names it
	inode   uint32
}

// diagReply is where struct inet_diag_msg has its id and inode.
const (
	diagReplyID    = 4
	diagReplyInode = 68
	diagReplyLen   = 72
)

// diagProtocols are those whose sockets the kernel can list and destroy.
var diagProtocols = []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE, unix.IPPROTO_RAW}

// inetSockets lists the internet sockets of this network namespace.
func inetSockets() ([]diagSocket, error) {
	var list []diagSocket
	for _, protocol := range diagProtocols {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			found, err := diagList(family, protocol)
			switch {
			case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.EINVAL):
				if protocol == unix.IPPROTO_TCP || protocol == unix.IPPROTO_UDP {
					return nil, fmt.Errorf("list sockets: this kernel has no sock_diag for protocol %d: %w", protocol, err)
				}
			case err != nil:
				return nil, fmt.Errorf("list sockets: %w", err)
			}
			list = append(list, found...)
		}
	}
	return list, nil
}

func diagList(family, protocol uint8) ([]diagSocket, error) {
	ask := nl.NewNetlinkRequest(sockDiagByFamily, unix.NLM_F_DUMP)
	ask.AddData(diagRequest{family: family, protocol: protocol, states: ^uint32(0)})
	replies, err := ask.Execute(unix.NETLINK_SOCK_DIAG, 0)
	if err != nil {
		return nil, err
	}
	list := make([]diagSocket, 0, len(replies))
	for _, b := range replies {
		if len(b) < diagReplyLen {
			continue
		}
		s := diagSocket{
			request: diagRequest{family: b[0], protocol: protocol, states: ^uint32(0), id: diagID(b[diagReplyID:])},
			inode:   binary.NativeEndian.Uint32(b[diagReplyInode:]),
		}
		if protocol == unix.IPPROTO_RAW {
			s.request.pad = s.request.id[1] // the low byte of the source port is the protocol
		}
		list = append(list, s)
	}
	return list, nil
}

// destroy ends a socket: its process sees ECONNABORTED. A socket that is gone already is no error.
func (s diagSocket) destroy() error {
	ask := nl.NewNetlinkRequest(sockDestroy, unix.NLM_F_ACK)
	ask.AddData(s.request)
	_, err := ask.Execute(unix.NETLINK_SOCK_DIAG, 0)
	if errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return err
}
