package ca

import (
	"container/list"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"time"
)

const (
	leafLife  = 24 * time.Hour
	leafFresh = 6 * time.Hour // a leaf with less left than this is minted anew
	leafLimit = 1024          // leaves kept: a subagent can ask for any number of names
	skew      = time.Hour     // clocks of clients may be behind
)

// newAuthority makes a self-signed CA that signs leaves and nothing else.
func newAuthority(host string, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	draft := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Chaperone on " + host, Organization: []string{"Chaperone"}, OrganizationalUnit: []string{serial.Text(16)[:8]}},
		NotBefore:    now.Add(-skew), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := sign(draft, draft, &key.PublicKey, key)
	return cert, key, err
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return serial.SetBit(serial, 126, 1), nil // positive, 16 bytes long
}

func sign(draft, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, draft, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// Certificate returns a leaf for a host name or an IP address, signed by the
// CA and good for some hours at least. It is shared: do not change it.
func (a *Authority) Certificate(name string) (*tls.Certificate, error) {
	name, err := tidy(name)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if leaf, ok := a.leaves.get(name); ok && leaf.Leaf.NotAfter.Sub(a.now()) > leafFresh {
		return leaf, nil
	}
	leaf, err := a.mint(name)
	if err != nil {
		return nil, err
	}
	a.leaves.put(name, leaf)
	return leaf, nil
}

// mint signs a leaf. Called under mu; signing takes some tens of microseconds.
func (a *Authority) mint(name string) (*tls.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := a.now()
	draft := &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    later(now.Add(-skew), a.cert.NotBefore), NotAfter: earlier(now.Add(leafLife), a.cert.NotAfter),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		draft.IPAddresses = []net.IP{ip.AsSlice()}
	} else {
		draft.DNSNames = []string{name}
	}
	if len(name) <= 64 { // ub-common-name, RFC 5280 appendix A.1
		draft.Subject.CommonName = name
	}
	leaf, err := sign(draft, a.cert, &a.leafKey.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw, a.cert.Raw}, PrivateKey: a.leafKey, Leaf: leaf}, nil
}

// tidy checks a name that a client sent: an IP address, or a host name of
// letters, digits, hyphens and underscores in labels (RFC 1123, 2181). A
// wildcard is not a name: a leaf stands for one host.
func tidy(name string) (string, error) {
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Unmap().WithZone("").String(), nil
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == "" || len(name) > 253 {
		return "", errors.New("not a host name: empty or too long")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" || label[0] == '-' || label[len(label)-1] == '-' {
			return "", errors.New("not a host name: a label is not one")
		}
	}
	return name, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// shelf keeps the leaves used last.
type shelf struct {
	limit  int
	order  *list.List // of *place, the last used in front
	byName map[string]*list.Element
}

type place struct {
	name string
	leaf *tls.Certificate
}

func newShelf(limit int) shelf {
	return shelf{limit: limit, order: list.New(), byName: map[string]*list.Element{}}
}

func (s *shelf) get(name string) (*tls.Certificate, bool) {
	e, ok := s.byName[name]
	if !ok {
		return nil, false
	}
	s.order.MoveToFront(e)
	return e.Value.(*place).leaf, true
}

func (s *shelf) put(name string, leaf *tls.Certificate) {
	if e, ok := s.byName[name]; ok {
		s.order.Remove(e)
	}
	s.byName[name] = s.order.PushFront(&place{name, leaf})
	if s.order.Len() > s.limit {
		oldest := s.order.Remove(s.order.Back()).(*place)
		delete(s.byName, oldest.name)
	}
}
