// Package certstest makes the certificate authorities and certificates of tests.
package certstest

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
	"testing"
	"time"
)

// CA is a certificate authority of a test, and a clientcert.CAPool: a test changes Pool to rotate it.
type CA struct {
	Cert *x509.Certificate
	PEM  []byte // of Cert
	Pool *x509.CertPool
	key  *ecdsa.PrivateKey
}

// New makes a CA that nobody else signs.
func New(t testing.TB, name string) *CA {
	t.Helper()
	return new(CA).Below(t, name)
}

// Below makes a CA that c signs.
func (c *CA) Below(t testing.TB, name string) *CA {
	t.Helper()
	made := &CA{Pool: x509.NewCertPool()}
	made.Cert, made.key = c.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, 24*time.Hour)
	made.PEM = encode("CERTIFICATE", made.Cert.Raw)
	made.Pool.AddCert(made.Cert)
	return made
}

// Client returns a client certificate that ends after life.
func (c *CA) Client(t testing.TB, life time.Duration, name string, groups ...string) *x509.Certificate {
	t.Helper()
	cert, _ := c.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name, Organization: groups}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, life)
	return cert
}

// Issue returns a certificate for loopback servers and for clients, in PEM.
func (c *CA) Issue(t testing.TB, name string, groups ...string) (cert, key []byte) {
	t.Helper()
	made, private := c.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name, Organization: groups}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, time.Hour)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return encode("CERTIFICATE", made.Raw), encode("PRIVATE KEY", der)
}

// Pair is Issue for crypto/tls.
func (c *CA) Pair(t testing.TB, name string, groups ...string) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(c.Issue(t, name, groups...))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// VerifyOptions implements clientcert.CAPool.
func (c *CA) VerifyOptions() (x509.VerifyOptions, bool) {
	return x509.VerifyOptions{Roots: c.Pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, true
}

// CurrentCABundleContent implements clientcert.CAPool.
func (c *CA) CurrentCABundleContent() []byte { return c.PEM }

// sign makes a certificate that ends after life. The zero CA has it sign itself.
func (c *CA) sign(t testing.TB, template *x509.Certificate, life time.Duration) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(life)
	parent, signer := c.Cert, c.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
