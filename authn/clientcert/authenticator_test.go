package clientcert

import (
	"crypto/x509"
	"runtime"
	"testing"
	"time"
	"weak"

	"frontproxy/authn/internal/authntest"
)

// TestVerifiedCertificatesAreNotKept: a verified certificate is remembered as long
// as its connection, and neither it nor what its client sent with it is kept after.
func TestVerifiedCertificatesAreNotKept(t *testing.T) {
	clients := authntest.NewCA(t, "clients")
	a, err := New(Config{ClientCAs: clients, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ask := func() weak.Pointer[x509.Certificate] {
		cert := clients.Client(t, time.Hour, "alice")
		for range 2 {
			if who, refusals := a.Authenticate(Request{Certificates: []*x509.Certificate{cert}}); who == nil {
				t.Fatalf("refused: %v", refusals)
			}
		}
		if n := a.clients.known.Len(); n == 0 {
			t.Error("nothing is remembered while the connection is there")
		}
		runtime.KeepAlive(cert)
		return weak.Make(cert)
	}
	var cert weak.Pointer[x509.Certificate]
	for range 20 {
		cert = ask()
	}
	runtime.GC()
	runtime.GC()
	if cert.Value() != nil {
		t.Error("the certificate is kept when its connection is gone")
	}
	for deadline := time.Now().Add(10 * time.Second); a.clients.known.Len() > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d are remembered that nobody can show again", a.clients.known.Len())
		}
	}
}
