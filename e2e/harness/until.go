package harness

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"time"
)

// ClientUntil issues a client certificate that ends at a time, which may have
// passed.
func (ca *CA) ClientUntil(dir, user string, end time.Time, groups ...string) (KeyPair, error) {
	template := certificate(pkix.Name{CommonName: user, Organization: groups})
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	template.NotBefore, template.NotAfter = end.Add(-48*time.Hour), end
	return ca.issue(dir, user, template)
}
