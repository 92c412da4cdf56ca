package record

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// The names of the key files. Both hold one line in the format of
// golang.org/x/mod/sumdb/note (Ed25519).
const (
	keyFile    = "host.key"
	publicFile = "host.pub"
)

// hostKey reads the host's signing key, or makes one where there is no record
// yet, and says so. A log whose key is gone is not gone on with: nothing new would vouch for the old.
func hostKey(dir, host string) (signer note.Signer, made bool, err error) {
	path := filepath.Join(dir, keyFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if list, listing := segments(filepath.Join(dir, "log")); listing != nil || len(list) > 0 {
			return nil, false, fmt.Errorf("host key %s is gone, and the log needs it: put it back, or move %s away to begin a new record", path, dir)
		}
		made = true
		text, err = newKey(dir, host)
	}
	if err != nil {
		return nil, false, fmt.Errorf("read host key: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, false, fmt.Errorf("read host key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, false, fmt.Errorf("host key %s is readable by others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	signer, err = note.NewSigner(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, false, fmt.Errorf("host key %s is malformed", path) // the note package's error may quote it
	}
	return signer, made, nil
}

// newKey makes a key pair. The public half is written first: a crash between
// the two leaves no key whose public half is unknown.
func newKey(dir, host string) ([]byte, error) {
	secret, public, err := note.GenerateKey(rand.Reader, keyName(host))
	if err != nil {
		return nil, err
	}
	if err := writeSynced(filepath.Join(dir, publicFile), public+"\n", 0o644); err != nil {
		return nil, err
	}
	return []byte(secret), writeSynced(filepath.Join(dir, keyFile), secret+"\n", 0o600)
}

// keyName is host without what a note's key name cannot hold.
func keyName(host string) string {
	name := strings.Map(func(r rune) rune {
		if r <= ' ' || r == '+' || r > '~' {
			return '-'
		}
		return r
	}, host)
	return "chaperone/" + name
}

// writeSynced writes a small file whole and durably: it is there with all its bytes, or not at all.
func writeSynced(path, text string, mode fs.FileMode) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// PublicKey reads the key that verifies a record's checkpoints from its own
// directory. An auditor brings a copy made earlier instead.
func PublicKey(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, publicFile))
	if err != nil {
		return "", fmt.Errorf("read public key: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
