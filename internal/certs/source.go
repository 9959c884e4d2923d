package certs

import (
	"crypto/x509"
	"encoding/pem"
)

// Source is a certificate in use, or a bundle of them, whose end matters.
type Source struct {
	// Role is what they are for, from a small fixed set: "serving", "client",
	// "client-ca", "requestheader-ca", "backend-ca".
	Role string
	// Source is the flag that names the file; of several files each has its own.
	Source string
	// PEM returns them as they are in use now; nil when there are none.
	PEM func() []byte
}

// Earliest is the certificate of a bundle in PEM that ends first; nil when none can
// be read.
func Earliest(bundle []byte) (first *x509.Certificate) {
	for {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			return first
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			continue
		}
		if first == nil || cert.NotAfter.Before(first.NotAfter) {
			first = cert
		}
	}
}
