package issuer

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

// TestCABundlesAreBounded: a CA bundle's certificates may not take far more memory than its text.
func TestCABundlesAreBounded(t *testing.T) {
	bundle := func(certificates, uris int) string {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		san, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: []byte("\x82\x01a" + strings.Repeat("\x86\x00", uris))})
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
			Subject:         pkix.Name{Country: []string{"XX"}, Organization: []string{"Usual Authorities"}, CommonName: "Usual CA"},
			ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Repeat(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), certificates)
	}
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	small := strings.Repeat(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 300)
	p := NewPool(Config{})
	for name, tt := range map[string]struct {
		ca   string
		want bool
	}{"one": {bundle(1, 2), true}, "as many as a system has": {bundle(200, 0), true}, "many small ones": {small, true}, "many empty URIs": {bundle(1, 40<<10), false}, "some in each": {bundle(30, 1000), false}} {
		if _, _, err := p.Acquire(IssuerRef{URL: "https://issuer.example", CA: tt.ca}, "owner"); (err == nil) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
