package ca

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T, dir string) *Authority {
	t.Helper()
	a, err := Open(dir, "host7", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func pool(t *testing.T, text []byte) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(text) {
		t.Fatal("no certificate in the PEM")
	}
	return p
}

func TestAuthorityIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	first := open(t, dir)
	if !bytes.Equal(first.PEM(), open(t, dir).PEM()) {
		t.Error("a second start made a second CA")
	}
	info, err := os.Stat(filepath.Join(dir, keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info, err)
	}
	if !strings.Contains(first.Info().Subject, "Chaperone on host7") {
		t.Errorf("subject %s", first.Info().Subject)
	}
	if bytes.Contains(first.Bundle(), []byte("PRIVATE")) {
		t.Error("the bundle holds a key")
	}
}

// handshake lets a client that trusts roots speak to a server with a's leaves.
func handshake(t *testing.T, a *Authority, roots *x509.CertPool, name string) error {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		_ = tls.Server(server, a.TLS("10.0.0.7")).Handshake()
	}()
	err := tls.Client(client, &tls.Config{RootCAs: roots, ServerName: name}).Handshake()
	client.Close()
	<-done
	return err
}

func TestClientsThatTrustTheAuthorityTrustItsLeaves(t *testing.T) {
	a := open(t, t.TempDir())
	roots := pool(t, a.PEM())
	for _, name := range []string{"db.internal", "DB.internal", "a_b.svc", "10.0.0.7"} {
		if err := handshake(t, a, roots, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := handshake(t, open(t, t.TempDir()), roots, "db.internal"); err == nil {
		t.Error("another host's leaf was trusted")
	}
	leaf, err := a.Certificate("2001:db8::1")
	if err != nil {
		t.Fatal(err)
	}
	if err := leaf.Leaf.VerifyHostname("2001:db8::1"); err != nil {
		t.Error(err)
	}
	if leaf.Leaf.IsCA || time.Until(leaf.Leaf.NotAfter) > leafLife {
		t.Errorf("leaf: CA %v, until %v", leaf.Leaf.IsCA, leaf.Leaf.NotAfter)
	}
}

func TestNamesThatAreNoneAreRefused(t *testing.T) {
	a := open(t, t.TempDir())
	for _, name := range []string{"", ".", "*.example.com", "a..b", "-a.com", "a b", "a\x00.com", "ex\u00e4mple", strings.Repeat("a", 64) + ".com", strings.Repeat("a.", 128)} {
		if _, err := a.Certificate(name); err == nil {
			t.Errorf("%q got a leaf", name)
		}
	}
}

func TestLeavesAreKeptBoundedAndRenewed(t *testing.T) {
	now := time.Now()
	a, err := Open(t.TempDir(), "h", func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	first, _ := a.Certificate("x.com")
	if again, _ := a.Certificate("X.com."); again != first {
		t.Error("minted twice")
	}
	now = now.Add(leafLife - leafFresh)
	if again, _ := a.Certificate("x.com"); again == first || again.Leaf.NotAfter.Sub(now) != leafLife && again.Leaf.NotAfter.Sub(now) < leafLife-time.Second {
		t.Error("an old leaf was not renewed")
	}
	for i := range leafLimit + 10 {
		if _, err := a.Certificate(fmt.Sprintf("h%d.com", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.leaves.byName) != leafLimit || a.leaves.order.Len() != leafLimit {
		t.Errorf("%d leaves kept", len(a.leaves.byName))
	}
}

func TestRotationKeepsTheOldCertificateAndNotItsKey(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir)
	old := a.PEM()
	oldKey, _ := os.ReadFile(filepath.Join(dir, keyFile))
	if err := a.Rotate(); err != nil {
		t.Fatal(err)
	}
	if err := handshake(t, a, pool(t, old), "x.com"); err == nil {
		t.Error("the old CA still signs")
	}
	if err := handshake(t, a, pool(t, a.PEM()), "x.com"); err != nil {
		t.Error(err)
	}
	again := open(t, dir)
	if !bytes.Contains(again.Bundle(), old) || bytes.Contains(again.PEM(), old) {
		t.Error("the bundle does not hold both")
	}
	for _, e := range must(os.ReadDir(dir)) {
		if text, _ := os.ReadFile(filepath.Join(dir, e.Name())); bytes.Contains(text, oldKey) {
			t.Errorf("%s holds the old key", e.Name())
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestDamagedAuthorityIsRefusedAndNotReplaced(t *testing.T) {
	other := t.TempDir()
	open(t, other)
	for name, damage := range map[string]func(dir string) error{
		"no key":          func(d string) error { return os.Remove(filepath.Join(d, keyFile)) },
		"no certificate":  func(d string) error { return os.Remove(filepath.Join(d, certFile)) },
		"key is readable": func(d string) error { return os.Chmod(filepath.Join(d, keyFile), 0o644) },
		"open directory":  func(d string) error { return os.Chmod(d, 0o777) },
		"garbage":         func(d string) error { return os.WriteFile(filepath.Join(d, certFile), []byte("x"), 0o644) },
		"another's key":   func(d string) error { return os.Rename(filepath.Join(other, keyFile), filepath.Join(d, keyFile)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "ca")
			before := open(t, dir).PEM()
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir, "h", time.Now); err == nil {
				t.Fatal("opened")
			}
			if after, err := os.ReadFile(filepath.Join(dir, certFile)); err == nil && !bytes.Equal(after, before) && name != "garbage" {
				t.Error("it was replaced")
			}
		})
	}
}

func TestExpiredAuthorityIsRenewedOnlyWhenAsked(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	late := func() time.Time { return time.Now().Add(life + time.Hour) }
	if _, err := Open(dir, "h", late); err == nil {
		t.Fatal("an expired CA was opened")
	}
	if err := Renew(dir, "h", late); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, "h", late); err != nil {
		t.Error(err)
	}
}

func TestConcurrentUse(t *testing.T) {
	a := open(t, t.TempDir())
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 20 {
				if _, err := a.Certificate(fmt.Sprintf("h%d.com", j%5)); err != nil {
					t.Error(err)
				}
				if i == 0 && j == 10 {
					if err := a.Rotate(); err != nil {
						t.Error(err)
					}
				}
				_ = a.Bundle()
			}
		})
	}
	all.Wait()
}

func FuzzTidy(f *testing.F) {
	f.Add("db.internal")
	f.Add("fe80::1%eth0")
	f.Fuzz(func(t *testing.T, name string) {
		tidied, err := tidy(name)
		if err != nil {
			return
		}
		if again, err := tidy(tidied); err != nil || again != tidied {
			t.Errorf("%q: %q, then %q, %v", name, tidied, again, err)
		}
	})
}
