package postgres

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// certify writes a self-signed certificate for 127.0.0.1.
func certify(dir string, uid, gid int) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(dir+"/"+name, pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
		if err := os.Chown(dir+"/"+name, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// secured starts a proxy whose target says tls.
func secured(t *testing.T, tls string) *watched {
	w := watch(t, "full", "")
	w.load(strings.Replace(policy("full", ""), "{upstream: disable}", strings.ReplaceAll(tls, "CA", postgres.dir+"/cert.pem"), 1), 2)
	return w
}

func TestTLSLegs(t *testing.T) {
	const secure = "select ssl::text || ' ' || version from pg_stat_ssl where pid = pg_backend_pid()"
	for _, c := range []struct {
		tls, client string
		want        string
	}{
		{"{upstream: disable}", "sslmode=prefer", "false"},
		{"{upstream: prefer}", "sslmode=prefer", "true TLSv1.3"},
		{"{upstream: verify-full, ca: CA}", "sslmode=disable", "true TLSv1.3"},
		{"{upstream: verify-full, ca: CA, name: other.example.com}", "sslmode=disable", "certificate"},
		{"{upstream: verify-full}", "sslmode=disable", "unknown authority"},
		{"{upstream: require, client: terminate}", "sslmode=require", "true TLSv1.3"},
		{"{upstream: require, client: terminate}", "sslmode=verify-full sslrootcert=CA", "true TLSv1.3"},
		{"{upstream: require, client: terminate}", "sslmode=require channel_binding=disable user=scram", "true TLSv1.3"},
		{"{upstream: require, client: terminate}", "sslmode=require user=scram", "channel_binding=disable"},
		{"{upstream: require, client: terminate}", "sslmode=require channel_binding=require user=scram", "channel binding"},
		{"{upstream: require}", "sslmode=require", "server does not support SSL"},
		{"{upstream: require}", "sslmode=prefer user=scram", "true TLSv1.3"},
		{"{upstream: disable, client: terminate}", "sslmode=require user=scram", "false"},
	} {
		t.Run(c.tls+" "+c.client, func(t *testing.T) {
			w := secured(t, c.tls)
			conninfo := fmt.Sprintf("host=127.0.0.1 port=%d dbname=postgres password=geheim user=postgres %s", w.port, strings.ReplaceAll(c.client, "CA", postgres.dir+"/cert.pem"))
			out, _ := w.run("psql", "-X", "-At", conninfo, "-c", strings.Replace(secure, "ssl::text || ' ' || version", "coalesce(ssl::text || ' ' || version, ssl::text)", 1))
			if !strings.Contains(out, c.want) {
				t.Errorf("want %q: %s", c.want, out)
			}
		})
	}
}

func TestClientThatInsistsOnTLSIsExplained(t *testing.T) {
	w := watch(t, "full", "")
	_, err := w.run("psql", "-X", "-At", w.url("postgres")+"?sslmode=require", "-c", "select 1")
	if err == nil {
		t.Fatal("a client that insists on TLS went on without")
	}
	for range 100 {
		if o := w.outcomes(); strings.Contains(o, "tls.client to terminate") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("outcomes: %q", w.outcomes())
}

func (w *watched) outcomes() string {
	w.tapes.mu.Lock()
	defer w.tapes.mu.Unlock()
	all := ""
	for _, one := range w.tapes.all {
		one.mu.Lock()
		all += one.outcome + "\n"
		one.mu.Unlock()
	}
	return all
}
