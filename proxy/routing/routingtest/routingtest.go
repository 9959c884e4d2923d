// Package routingtest has the certificates and mapping files of tests.
package routingtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	testingclock "k8s.io/utils/clock/testing"

	"frontproxy/internal/filewatch"
)

// ShardsMapping is the entry for /clusters/.
const ShardsMapping = `
- path: /clusters/
  backend: https://unused.invalid
  backend_server_ca: DIR/ca.crt
  proxy_client_cert: DIR/client.crt
  proxy_client_key: DIR/client.key
  uid_header: X-Remote-Uid
`

// TLSEntry ends an entry.
const TLSEntry = `
  backend_server_ca: DIR/ca.crt
  proxy_client_cert: DIR/client.crt
  proxy_client_key: DIR/client.key
`

// Files are TLS files as mapping files name them, in a directory of their own.
type Files struct {
	Dir              string
	Serving, Clients *Authority // sign servers' certificates, and the proxy's client certificate
}

// NewFiles writes ca.crt, client.crt and client.key.
func NewFiles(t testing.TB) *Files {
	t.Helper()
	f := &Files{Dir: t.TempDir(), Serving: NewAuthority(t, "serving"), Clients: NewAuthority(t, "requestheader")}
	f.Write(t, "ca.crt", f.Serving.PEM)
	cert, key := f.Clients.Issue(t, "front-proxy")
	f.Write(t, "client.crt", cert)
	f.Write(t, "client.key", key)
	return f
}

// Write writes a file, and returns its path.
func (f *Files) Write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(f.Dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// In is a mapping file's text with the names of these files.
func (f *Files) In(text string) string { return strings.ReplaceAll(text, "DIR", f.Dir) }

// Authority is a CA of a test.
type Authority struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
	PEM  []byte // its certificate
}

// NewAuthority makes one.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	a := &Authority{}
	a.Cert, a.key, a.PEM, _ = signed(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	return a
}

// Issue returns a certificate for loopback servers and for clients, in PEM.
func (a *Authority) Issue(t testing.TB, name string, groups ...string) (cert, key []byte) {
	t.Helper()
	_, _, cert, key = signed(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name, Organization: groups}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, a)
	return cert, key
}

// Pair is Issue for crypto/tls.
func (a *Authority) Pair(t testing.TB, name string, groups ...string) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(a.Issue(t, name, groups...))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// Pool has the CA.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	return pool
}

func signed(t testing.TB, template *x509.Certificate, by *Authority) (*x509.Certificate, *ecdsa.PrivateKey, []byte, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if by != nil {
		parent, signer = by.Cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// Settle lets what stands in f's files now settle.
func Settle[T any](t testing.TB, f *filewatch.File[T], clk *testingclock.FakeClock) {
	t.Helper()
	f.Look(t.Context())
	clk.Step(filewatch.Settle)
	f.Look(t.Context())
}
