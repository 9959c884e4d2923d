package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
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

// Contents returns what was read from the files, by name.
func (m *Credentials) Contents(files Files) map[string][]byte {
	all := map[string][]byte{}
	for name, text := range map[string][]byte{files.CA: m.CAPEM, files.Cert: m.CertPEM, files.Key: m.KeyPEM} {
		if name != "" {
			all[name] = text
		}
	}
	return all
}

// KeyCA, KeyCert and KeyKey are what the mapping file and errors call the Files.
const (
	KeyCA   = "backend_server_ca"
	KeyCert = "proxy_client_cert"
	KeyKey  = "proxy_client_key"
)

// ReadCredentials reads the files. errs is everything that is wrong with them; unless it is empty, m
// is not to be used. If optional is set, files may name no client certificate and no key.
func ReadCredentials(files Files, optional bool, readFile func(string) ([]byte, error)) (m *Credentials, errs []error) {
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	read := func(key, file, what string) []byte {
		if file == "" {
			fail("%s is missing: %s", key, what)
			return nil
		}
		data, err := readFile(file)
		if err != nil {
			fail("%s: %w; it must name %s", key, err, what)
		}
		return data
	}
	m = &Credentials{}
	if ca := read(KeyCA, files.CA, "a PEM bundle of the CAs that sign the backend's certificate"); ca != nil {
		m.CAPEM, m.Roots = ca, x509.NewCertPool()
		if !m.Roots.AppendCertsFromPEM(ca) {
			fail("%s: %s has no PEM certificate", KeyCA, files.CA)
		}
	}
	if optional && files.Cert == "" && files.Key == "" {
		return m, errs
	}
	cert := read(KeyCert, files.Cert, "the PEM certificate that the proxy shows to the backend")
	key := read(KeyKey, files.Key, "the PEM private key of "+KeyCert)
	if cert != nil && key != nil {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			fail("%s %s and %s %s do not match: %w", KeyCert, files.Cert, KeyKey, files.Key, err)
		}
		m.CertPEM, m.KeyPEM, m.Pair = cert, key, &pair
	}
	return m, errs
}
