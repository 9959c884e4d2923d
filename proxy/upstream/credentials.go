package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"frontproxy/internal/filewatch"
)

// Files names the files of one TLS identity. Comparable: mappings with the
// same files share an upstream, and so its connections.
type Files struct{ CA, Cert, Key string }

// Credentials is what Files held when they were read. Immutable.
type Credentials struct {
	CAPEM, CertPEM, KeyPEM []byte
	Roots                  *x509.CertPool
	Pair                   *tls.Certificate // nil: no client certificate
}

// config is a new one, of connections with m.
func (m *Credentials) config() *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: m.Roots}
	if m.Pair != nil {
		config.Certificates = []tls.Certificate{*m.Pair}
	}
	return config
}

// Contents are those of the files that m was read from.
func (m *Credentials) Contents(files Files) map[string][]byte {
	all := map[string][]byte{}
	for name, text := range map[string][]byte{files.CA: m.CAPEM, files.Cert: m.CertPEM, files.Key: m.KeyPEM} {
		if name != "" {
			all[name] = text
		}
	}
	return all
}

func readCredentials(files Files, readFile filewatch.ReadFunc) (*Credentials, error) {
	m := &Credentials{Roots: x509.NewCertPool()}
	var err error
	if m.CAPEM, err = readFile(files.CA); err != nil {
		return nil, fmt.Errorf("read the CA bundle: %w", err)
	}
	if !m.Roots.AppendCertsFromPEM(m.CAPEM) {
		return nil, fmt.Errorf("CA bundle %s: %w", files.CA, errNoCertificate)
	}
	if files.Cert == "" {
		return m, nil
	}
	if m.CertPEM, err = readFile(files.Cert); err != nil {
		return nil, fmt.Errorf("read the client certificate: %w", err)
	}
	if m.KeyPEM, err = readFile(files.Key); err != nil {
		return nil, fmt.Errorf("read the client key: %w", err)
	}
	pair, err := tls.X509KeyPair(m.CertPEM, m.KeyPEM)
	if err != nil {
		return nil, fmt.Errorf("client certificate %s and key %s: %w", files.Cert, files.Key, err)
	}
	m.Pair = &pair
	return m, nil
}

var errNoCertificate = errors.New("no PEM certificate in it")
