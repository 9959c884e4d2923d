package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

func TestEarliest(t *testing.T) {
	ends := []time.Time{time.Unix(2000000000, 0), time.Unix(1900000000, 0), time.Unix(2100000000, 0)}
	var bundle []byte
	for _, end := range ends {
		bundle = append(bundle, endsAt(t, end)...)
	}
	if got := Earliest(bundle); got == nil || !got.NotAfter.Equal(ends[1]) {
		t.Errorf("the first of a bundle is %v, want the one that ends at %v", got, ends[1])
	}
	if got := Earliest([]byte("no PEM")); got != nil {
		t.Errorf("the first of nothing is %v", got)
	}
}

// endsAt is a certificate in PEM.
func endsAt(t *testing.T, end time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
