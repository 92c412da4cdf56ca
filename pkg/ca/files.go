package ca

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const retiredFile = "retired.pem"

// load reads the CA. fs.ErrNotExist says that there is none; where only one of its two
// files is left, the error is another.
func load(dir string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certText, certErr := os.ReadFile(filepath.Join(dir, certFile))
	keyText, keyErr := readKey(filepath.Join(dir, keyFile))
	switch {
	case errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist):
		return nil, nil, fs.ErrNotExist
	case errors.Is(certErr, fs.ErrNotExist), errors.Is(keyErr, fs.ErrNotExist):
		return nil, nil, fmt.Errorf("only one of %s and %s is there (restore the other, or remove both)", certFile, keyFile)
	case certErr != nil || keyErr != nil:
		return nil, nil, errors.Join(certErr, keyErr)
	}
	cert, err := parseCert(certText)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", certFile, err)
	}
	key, err := parseKey(keyText)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	if public, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(&key.PublicKey) {
		return nil, nil, fmt.Errorf("%s does not belong to %s (restore the one that is wrong, or remove both for a new CA)", keyFile, certFile)
	}
	return cert, key, nil
}

// readKey refuses a key that others could have read or put there.
func readKey(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others: it is no secret any more (remove it and %s for a new CA)", keyFile, certFile)
	}
	return os.ReadFile(path)
}

func parseCert(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("holds no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, errors.New("holds no certificate that can be read")
	}
	if !cert.IsCA {
		return nil, errors.New("is not a CA's certificate")
	}
	return cert, nil
}

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("holds no private key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("holds no private key that can be read")
	}
	if ec, ok := key.(*ecdsa.PrivateKey); ok {
		return ec, nil
	}
	return nil, errors.New("is not an ECDSA key")
}

// store writes key, then certificate: after a crash in between they do not fit,
// and load says so.
func store(dir string, cert *x509.Certificate, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := replace(filepath.Join(dir, keyFile), text, 0o600); err != nil {
		return err
	}
	return replace(filepath.Join(dir, certFile), encode(cert), 0o644)
}

func loadRetired(dir string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(filepath.Join(dir, retiredFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: holds a certificate that cannot be read", retiredFile)
		}
		certs = append(certs, cert)
	}
	return certs, nil
}

func storeRetired(dir string, certs []*x509.Certificate) error {
	var text []byte
	for _, c := range certs {
		text = append(text, encode(c)...)
	}
	return replace(filepath.Join(dir, retiredFile), text, 0o644)
}

// replace puts a file in place whole and durably.
func replace(path string, text []byte, mode fs.FileMode) error {
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
