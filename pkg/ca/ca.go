// Package ca is the host's own certificate authority: it lets Chaperone
// terminate TLS where a policy says inspect.
//
// Its key is made on the host, stays in STATE/ca with mode 0600, and is in no
// image and no binary. Leaves live for a day, all with one key
// that exists in memory only.
//
// # Why
//
// ECDSA P-256 rather than Ed25519, because a twenty-year-old client has to
// verify it. One leaf key rather than one each: a key per name would cost a
// generation per new name that a subagent asks for, and hides nothing, since all of them
// live in this process. A CA per identity was turned down for now: whoever
// trusts the host's CA trusts this host's Chaperone, and no other host has the key.
package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

const (
	certFile = "ca.pem"
	keyFile  = "ca.key"

	life  = 5 * 365 * 24 * time.Hour // of the CA
	early = 30 * 24 * time.Hour      // Open complains when less than this is left
)

// Authority mints leaves. It is safe for concurrent use.
type Authority struct {
	dir  string
	host string
	now  func() time.Time

	turning sync.Mutex // held by Rotate, disk included; taken before mu
	mu      sync.Mutex // guards what follows
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	leafKey *ecdsa.PrivateKey
	leaves  shelf
	retired []*x509.Certificate // of before the last rotation, newest first
}

// Open reads the CA in dir, and makes one for host where there is none at all.
// A CA that is half there, does not fit its key or has expired is an error, never replaced.
func Open(dir, host string, now func() time.Time) (*Authority, error) {
	a := &Authority{dir: dir, host: host, now: now}
	if err := a.open(); err != nil {
		return nil, fmt.Errorf("open the CA in %s: %w", dir, err)
	}
	return a, nil
}

func (a *Authority) open() error {
	if err := safeDirectory(a.dir); err != nil {
		return err
	}
	leafKey, err := newKey()
	if err != nil {
		return err
	}
	a.leafKey = leafKey
	cert, key, err := load(a.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return a.Rotate()
	}
	if err != nil {
		return err
	}
	if !a.now().Before(cert.NotAfter) {
		return errors.New("it has expired (chaperone ca rotate makes a new one)")
	}
	a.retired, err = loadRetired(a.dir)
	if err != nil {
		return err
	}
	a.take(cert, key)
	return nil
}

// take makes cert the one that signs from now on.
func (a *Authority) take(cert *x509.Certificate, key *ecdsa.PrivateKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cert, a.key = cert, key
	a.leaves = newShelf(leafLimit)
}

// Rotate makes a new CA and signs with it from now on. The certificate of the
// old one is kept (Bundle), its key is not.
func (a *Authority) Rotate() error {
	a.turning.Lock()
	defer a.turning.Unlock()
	cert, key, err := newAuthority(a.host, a.now())
	if err != nil {
		return err
	}
	if err := a.retire(); err != nil {
		return err
	}
	if err := store(a.dir, cert, key); err != nil {
		return fmt.Errorf("keep the CA: %w", err)
	}
	a.take(cert, key)
	return nil
}

// Renew rotates the CA in dir for a daemon that does not run, also where Open
// refuses it because it has expired.
func Renew(dir, host string, now func() time.Time) error {
	if err := safeDirectory(dir); err != nil {
		return fmt.Errorf("renew the CA in %s: %w", dir, err)
	}
	a := &Authority{dir: dir, host: host, now: now}
	var err error
	if a.cert, _, err = load(dir); err == nil {
		a.retired, err = loadRetired(dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("renew the CA in %s: %w", dir, err)
	}
	return a.Rotate()
}

// retire keeps the certificate of the CA that goes.
func (a *Authority) retire() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cert == nil {
		return nil
	}
	retired := append([]*x509.Certificate{a.cert}, a.retired...)
	if err := storeRetired(a.dir, retired); err != nil {
		return fmt.Errorf("keep the old CA's certificate: %w", err)
	}
	a.retired = retired
	return nil
}

// PEM is the CA certificate, for `chaperone ca show` and trust stores.
func (a *Authority) PEM() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return encode(a.cert)
}

// Bundle is the CA certificate and those of earlier CAs that have not expired:
// what a trust store needs around a rotation.
func (a *Authority) Bundle() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	bundle := encode(a.cert)
	for _, old := range a.retired {
		if a.now().Before(old.NotAfter) {
			bundle = append(bundle, encode(old)...)
		}
	}
	return bundle
}

// Info describes a CA certificate, as `chaperone ca show` prints it.
type Info struct {
	Subject   string    `json:"subject"`
	SHA256    string    `json:"sha256"` // of the certificate, hex
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Aging     bool      `json:"aging"` // less than 30 days are left
}

// Info describes the CA that signs.
func (a *Authority) Info() Info {
	a.mu.Lock()
	defer a.mu.Unlock()
	sum := sha256.Sum256(a.cert.Raw)
	return Info{
		Subject: a.cert.Subject.String(), SHA256: hex.EncodeToString(sum[:]),
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter, Aging: a.cert.NotAfter.Sub(a.now()) < early,
	}
}

// TLS is a server configuration that mints a leaf for the name a client asks
// for; otherwise (no SNI) for fallback, the address it wanted.
func (a *Authority) TLS(fallback string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			name := hello.ServerName
			if name == "" {
				name = fallback
			}
			return a.Certificate(name)
		},
	}
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

func encode(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

// safeDirectory makes dir if need be, for our eyes only.
func safeDirectory(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o022 != 0 {
		return errors.New("the directory can be written by others (chmod 0700 it)")
	}
	return nil
}
