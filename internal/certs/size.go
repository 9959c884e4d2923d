package certs

import (
	"crypto/tls"
	"crypto/x509"
)

// What the parts of a certificate take in memory, in bytes. That may be far more than they have in the
// certificate: an empty URI has two bytes and becomes a url.URL.
const (
	certificateCost = 2 << 10 // each certificate
	uriCost         = 192     // each URI
	partCost        = 64      // each name, usage, policy, extension or timestamp
)

// SizeOfParts is what the parts of the peer's certificates take in memory, in bytes.
func SizeOfParts(state *tls.ConnectionState) int64 {
	return SizeOfBundle(state.PeerCertificates) + int64(partCost*len(state.SignedCertificateTimestamps))
}

// SizeOfBundle is what the parts of certificates take in memory, in bytes.
func SizeOfBundle(certificates []*x509.Certificate) int64 {
	bytes := 0
	for _, c := range certificates {
		parts := len(c.Subject.Names) + len(c.Issuer.Names) + len(c.DNSNames) + len(c.EmailAddresses) + len(c.IPAddresses) +
			len(c.UnknownExtKeyUsage) + len(c.Policies) + len(c.CRLDistributionPoints) + len(c.Extensions)
		bytes += certificateCost + uriCost*len(c.URIs) + partCost*parts
	}
	return int64(bytes)
}
