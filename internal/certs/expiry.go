package certs

import (
	"crypto/x509"
	"encoding/pem"
)

// Source is a certificate in use, or a bundle of them, whose expiry matters.
type Source struct {
	// Role is what they are for, from a small fixed set: "serving", "client",
	// "client-ca", "requestheader-ca", "backend-ca".
	Role string
	// Source names the flag of the file and, if that leads to several files, which of them.
	Source string
	// PEM returns the certificates that are in use now; nil if there are none.
	PEM func() []byte
}

// Earliest returns the certificate in a PEM bundle that expires first; nil if none can be
// read.
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
