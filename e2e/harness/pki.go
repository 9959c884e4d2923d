package harness

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// CA is a certificate authority for a day.
type CA struct {
	// File has the CA's certificate in PEM.
	File string
	// PEM is what File holds.
	PEM []byte

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes a CA and writes its certificate to dir/name.crt. Its key stays
// in memory.
func NewCA(dir, name string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA %s: %w", name, err)
	}
	template := certificate(pkix.Name{CommonName: name})
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make CA %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make CA %s: %w", name, err)
	}
	ca := &CA{File: filepath.Join(dir, name+".crt"), PEM: encode("CERTIFICATE", der), cert: cert, key: key}
	if err := os.WriteFile(ca.File, ca.PEM, 0o600); err != nil {
		return nil, fmt.Errorf("make CA %s: %w", name, err)
	}
	return ca, nil
}

// KeyPair is a certificate with its private key, as PEM files and their bytes.
type KeyPair struct {
	CertFile, KeyFile string
	Cert, Key         []byte
}

// Client issues a client certificate for a user and its groups; the files are
// dir/user.crt and dir/user.key.
func (ca *CA) Client(dir, user string, groups ...string) (KeyPair, error) {
	template := certificate(pkix.Name{CommonName: user, Organization: groups})
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return ca.issue(dir, user, template)
}

// ClientUntil issues a client certificate that ends at a time, which may have
// passed.
func (ca *CA) ClientUntil(dir, user string, end time.Time, groups ...string) (KeyPair, error) {
	template := certificate(pkix.Name{CommonName: user, Organization: groups})
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	template.NotBefore, template.NotAfter = end.Add(-48*time.Hour), end
	return ca.issue(dir, user, template)
}

// Serving issues a serving certificate for loopback into dir/name.crt and
// dir/name.key.
func (ca *CA) Serving(dir, name string) (KeyPair, error) {
	template := certificate(pkix.Name{CommonName: name})
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	template.DNSNames = []string{"localhost"}
	return ca.issue(dir, name, template)
}

func (ca *CA) issue(dir, name string, template *x509.Certificate) (KeyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return KeyPair{}, fmt.Errorf("issue certificate %s: %w", name, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return KeyPair{}, fmt.Errorf("issue certificate %s: %w", name, err)
	}
	return writePair(dir, name, encode("CERTIFICATE", der), key)
}

// newServiceAccountKey makes an RSA key pair; the "certificate" is the public
// key, which is what kcp verifies service account tokens with.
func newServiceAccountKey(dir string) (KeyPair, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return KeyPair{}, fmt.Errorf("make service account key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return KeyPair{}, fmt.Errorf("make service account key: %w", err)
	}
	return writePair(dir, "service-account", encode("PUBLIC KEY", public), key)
}

func writePair(dir, name string, public []byte, private crypto.Signer) (KeyPair, error) {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return KeyPair{}, fmt.Errorf("write key pair %s: %w", name, err)
	}
	p := KeyPair{
		CertFile: filepath.Join(dir, name+".crt"), Cert: public,
		KeyFile: filepath.Join(dir, name+".key"), Key: encode("PRIVATE KEY", der),
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return KeyPair{}, fmt.Errorf("write key pair %s: %w", name, err)
	}
	if err := os.WriteFile(p.CertFile, p.Cert, 0o600); err != nil {
		return KeyPair{}, fmt.Errorf("write key pair %s: %w", name, err)
	}
	if err := os.WriteFile(p.KeyFile, p.Key, 0o600); err != nil {
		return KeyPair{}, fmt.Errorf("write key pair %s: %w", name, err)
	}
	return p, nil
}

func certificate(subject pkix.Name) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
