package issuer

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"k8s.io/client-go/util/cert"

	"frontproxy/internal/certs"
)

// wellKnown is where OpenID Connect Discovery 1.0, section 4 puts the document.
const wellKnown = "/.well-known/openid-configuration"

// IssuerRef says which issuer a configuration means.
type IssuerRef struct {
	// URL is the issuer URL: tokens carry exactly this "iss", and the discovery
	// document exactly this "issuer".
	URL string
	// DiscoveryURL is where the discovery document is; empty means below URL.
	DiscoveryURL string
	// CA is a PEM bundle that verifies the issuer's certificates; empty means
	// the system's roots.
	CA string
}

// RefID compares IssuerRefs.
type RefID struct {
	url, discoveryURL string
	ca                [sha256.Size]byte // zero: the system's roots
}

// ID is equal for equal IssuerRefs and for no others.
func (r IssuerRef) ID() RefID {
	id := RefID{url: r.URL, discoveryURL: r.DiscoveryURL}
	if r.CA != "" {
		id.ca = sha256.Sum256([]byte(r.CA))
	}
	return id
}

// document is the URL of the discovery document.
func (r IssuerRef) document() (string, error) {
	location := r.DiscoveryURL
	if location == "" {
		location = strings.TrimSuffix(r.URL, "/") + wellKnown
	}
	if err := checkURL(location); err != nil {
		return "", fmt.Errorf("discovery URL: %w", err)
	}
	return location, nil
}

// roots is the pool of CA; nil means the system's.
func (r IssuerRef) roots() (*x509.CertPool, error) {
	if r.CA == "" {
		return nil, nil
	}
	bundle, err := cert.ParseCertsPEM([]byte(r.CA))
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	if certs.SizeOfBundle(bundle) > freeBundle+int64(len(r.CA))*bundleCost {
		return nil, errors.New("certificate authority: for their size, its certificates have too many names or other parts")
	}
	pool := x509.NewCertPool()
	for _, c := range bundle {
		pool.AddCert(c)
	}
	return pool, nil
}

// The certificates of a CA bundle may take freeBundle bytes of memory and bundleCost for each byte of the
// bundle. They are kept as long as the issuer is in use, and usual ones take less: those with small
// keys and short names, which have some 400 bytes, take the most for their size.
const (
	freeBundle = 64 << 10
	bundleCost = 6
)

// checkURL reports whether raw may be fetched at all.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return err
	case u.Scheme != "https":
		return fmt.Errorf("%q is not https", raw)
	case u.Host == "":
		return fmt.Errorf("%q has no host", raw)
	case u.User != nil:
		return fmt.Errorf("the URL at %q contains credentials", u.Host)
	}
	return nil
}

// redacted is raw without a password.
func redacted(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}
