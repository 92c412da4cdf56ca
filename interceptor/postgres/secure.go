package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/chaperone-dev/chaperone/interceptor"
	"github.com/chaperone-dev/chaperone/interceptor/postgres/wire"
	"github.com/chaperone-dev/chaperone/rules"
)

// alpn is what a client that starts with TLS at once offers (PostgreSQL 17).
const alpn = "postgresql"

var errNoCertificates = errors.New("tls.client: terminate needs a certificate authority, and none is set up")

// terminator makes the server side of TLS for the client leg; nil when the leg stays clear.
func (p *protocol) terminator(c *interceptor.Conn) func(net.Conn) (net.Conn, error) {
	if c.Session.Target.TLS.Client != "terminate" {
		return nil
	}
	return func(conn net.Conn) (net.Conn, error) {
		if p.certificates == nil {
			return nil, errNoCertificates
		}
		fallback := c.Session.Flow.Destination.Addr().String()
		server := tls.Server(conn, &tls.Config{
			MinVersion: tls.VersionTLS12,
			NextProtos: []string{alpn},
			GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				if h.ServerName == "" {
					return p.certificates(fallback)
				}
				return p.certificates(h.ServerName)
			},
		})
		return server, server.Handshake()
	}
}

// dial connects to the server, by TLS where the target says so. secure says whether the leg is TLS.
func (p *protocol) dial(ctx context.Context, c *interceptor.Conn) (secure bool, err error) {
	if err := c.Dial(ctx); err != nil {
		return false, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.Server.SetDeadline(deadline)
	}
	secure, err = upgrade(ctx, c, c.Session.Target.TLS)
	if err != nil {
		return false, err
	}
	return secure, c.Server.SetDeadline(time.Time{})
}

func upgrade(ctx context.Context, c *interceptor.Conn, t rules.TLS) (bool, error) {
	if t.Upstream == "disable" {
		return false, nil
	}
	offered, err := askTLS(c.Server)
	if err != nil {
		return false, err
	}
	must := t.Upstream != "" && t.Upstream != "prefer"
	if !offered && must {
		return false, fmt.Errorf("the server offers no TLS, and the target says tls.upstream: %s", t.Upstream)
	}
	if !offered {
		return false, nil
	}
	config, err := clientTLS(t, c.Session.Flow.Destination.Addr().String())
	if err != nil {
		return false, err
	}
	conn := tls.Client(c.Server, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return false, fmt.Errorf("tls with the server: %w", err)
	}
	c.Server = conn
	return true, nil
}

// askTLS sends an SSLRequest and reads its one byte.
func askTLS(server net.Conn) (bool, error) {
	var ask [8]byte
	binary.BigEndian.PutUint32(ask[:], 8)
	binary.BigEndian.PutUint32(ask[4:], wire.SSLRequest)
	if _, err := server.Write(ask[:]); err != nil {
		return false, fmt.Errorf("ask the server for TLS: %w", err)
	}
	if _, err := io.ReadFull(server, ask[:1]); err != nil {
		return false, fmt.Errorf("ask the server for TLS: %w", err)
	}
	switch ask[0] {
	case 'S':
		return true, nil
	case 'N':
		return false, nil
	}
	return false, errors.New("the server's answer to a TLS request is neither S nor N")
}

// clientTLS turns the target's words, which are libpq's, into a configuration.
func clientTLS(t rules.TLS, address string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.Name, NextProtos: []string{alpn}}
	if config.ServerName == "" {
		config.ServerName = address
	}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("read tls.ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("tls.ca holds no certificate")
		}
	}
	switch t.Upstream {
	case "verify-full":
	case "verify-ca":
		config.InsecureSkipVerify = true
		config.VerifyConnection = chain(config.RootCAs)
	default: // prefer and require check nobody, as in libpq
		config.InsecureSkipVerify = true
	}
	return config, nil
}

// chain verifies the certificate's issuers and not its name.
func chain(roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, c := range s.PeerCertificates[1:] {
			o.Intermediates.AddCert(c)
		}
		_, err := s.PeerCertificates[0].Verify(o)
		return err
	}
}
