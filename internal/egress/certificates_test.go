package egress

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestLimitTransportBoundsCertificates: a server's certificates may not take much more memory than a usual
// server's, although a trusted one is the first.
func TestLimitTransportBoundsCertificates(t *testing.T) {
	for name, tt := range map[string]struct {
		names, uris, others int
		want                bool
	}{
		"usual":            {1, 0, 0, true},
		"many names":       {500, 0, 3, true},
		"many URIs":        {1, 10_000, 0, false},
		"long chain":       {1, 0, 200, false},
		"very many names":  {10_000, 0, 0, false},
		"URIs of a second": {1, -10_000, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			first := certificate(t, tt.names, max(tt.uris, 0))
			for range tt.others {
				first.Certificate = append(first.Certificate, certificate(t, 1, 0).Certificate[0])
			}
			if tt.uris < 0 {
				first.Certificate = append(first.Certificate, certificate(t, 1, -tt.uris).Certificate[0])
			}
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.TLS = &tls.Config{Certificates: []tls.Certificate{first}}
			server.StartTLS()
			t.Cleanup(server.Close)
			roots := x509.NewCertPool()
			leaf, err := x509.ParseCertificate(first.Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			roots.AddCert(leaf)
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
			t.Cleanup(transport.CloseIdleConnections)
			LimitTransport(transport)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := transport.RoundTrip(r)
			if err == nil {
				_ = res.Body.Close()
			}
			if (err == nil) != tt.want || err != nil && !errors.Is(err, ErrAnswer) {
				t.Errorf("%v, want an answer: %v", err, tt.want)
			}
		})
	}
}

// certificate is for 127.0.0.1, signed by itself, with so many DNS names and empty URIs.
func certificate(t *testing.T, names, uris int) tls.Certificate {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	values := "\x87\x04\x7f\x00\x00\x01" + strings.Repeat("\x82\x02ab", names) + strings.Repeat("\x86\x00", uris)
	san, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: []byte(values)})
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), Subject: pkix.Name{CommonName: "server"},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
