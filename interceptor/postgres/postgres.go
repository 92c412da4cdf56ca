// Package postgres speaks PostgreSQL, protocols 3.0 to 3.2, between an enrolled
// client and its server: it judges statements, masks results and records both.
//
// # Why
//
// A refused statement is never answered from here once a session is up: it is
// replaced by one that fails in the server's grammar, and the server's error is
// replaced by ours. So transaction state, pipelines and implicit transactions are
// the server's own and cannot disagree with what the client believes. Turned down:
// answering locally (wrong inside a transaction), and DO blocks that raise our
// error (they need a language, a usable transaction, and a privilege).
package postgres

import (
	"crypto/tls"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/pkg/sqlread"
)

// Options are what the protocol needs from the house.
type Options struct {
	Reader sqlread.Reader
	// Certificates gives the certificate the client leg is terminated with. nil: no
	// target may say tls.client: terminate.
	Certificates func(name string) (*tls.Certificate, error)
}

// protocol is shared by all PostgreSQL connections.
type protocol struct {
	reader       sqlread.Reader
	certificates func(name string) (*tls.Certificate, error)
	cancels      cancels
	catalogs     catalogs
}

// New makes the protocol.
func New(o Options) interceptor.Protocol {
	return &protocol{reader: o.Reader, certificates: o.Certificates}
}

func (p *protocol) Name() string { return "postgres" }

// Sniff knows the startup packets; a TLS ClientHello alone could be anybody's.
func (p *protocol) Sniff(first []byte) bool {
	if len(first) < 8 || first[0] != 0 || first[1] != 0 {
		return false
	}
	code := uint32(first[4])<<24 | uint32(first[5])<<16 | uint32(first[6])<<8 | uint32(first[7])
	return code>>16 == 1234 || code>>16 == 3
}
