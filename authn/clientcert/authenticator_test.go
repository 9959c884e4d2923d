package clientcert

import (
	"crypto/x509"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
	"weak"

	"frontproxy/authn/identity"
	"frontproxy/internal/bytecache"
	"frontproxy/internal/certstest"
)

// TestVerifiedCertificatesAreNotKept: a verified certificate is remembered as long
// as its connection, and neither it nor what its client sent with it is kept after.
func TestVerifiedCertificatesAreNotKept(t *testing.T) {
	clients := certstest.New(t, "clients")
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
	forgotten(t, a.clients)
}

// forgotten waits until nothing is kept for certificates, which are gone.
func forgotten(t *testing.T, v *verifier) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		followed := 0
		v.followed.Range(func(any, any) bool { followed++; return true })
		switch {
		case v.known.Len() == 0 && followed == 0:
			return
		case time.Now().After(deadline):
			t.Fatalf("%d are remembered and %d are followed that nobody can show again", v.known.Len(), followed)
		}
	}
}

// TestMoreConnectionsThanAreRemembered: when more are open than there is room for,
// their certificates are verified again at each request, which costs no memory.
func TestMoreConnectionsThanAreRemembered(t *testing.T) {
	clients := certstest.New(t, "clients")
	a, err := New(Config{ClientCAs: clients, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(cert *x509.Certificate) *Identity {
		who, refusals := a.Authenticate(Request{Certificates: []*x509.Certificate{cert}})
		if who == nil {
			t.Fatalf("refused: %v", refusals)
		}
		return who
	}
	alice := ask(clients.Client(t, time.Hour, "alice"))
	one := a.clients
	one.known = bytecache.New[weak.Pointer[x509.Certificate], *verifiedChain](bytecache.Overhead+identity.KeptBytes(alice.User), nil)
	cleanups := func() uint64 {
		runtime.GC()
		queued := []metrics.Sample{{Name: "/gc/cleanups/queued:cleanups"}}
		metrics.Read(queued)
		return queued[0].Value.Uint64()
	}
	const connections, requests = 3, 100
	before := cleanups()
	func() {
		var certs []*x509.Certificate
		for range connections {
			certs = append(certs, clients.Client(t, time.Hour, "alice"))
		}
		for range requests {
			for _, cert := range certs {
				ask(cert)
				if n := one.known.Len(); n != 1 {
					t.Fatalf("%d are remembered: the test has room for one", n)
				}
			}
		}
	}()
	runtime.GC()
	forgotten(t, one)
	if n := cleanups() - before; n < connections || n >= requests {
		t.Errorf("%d cleanups for %d connections, whose requests were %d each", n, connections, requests)
	}
}
