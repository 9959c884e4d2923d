package authn

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"frontproxy/authn/internal/authntest"
	"frontproxy/authn/token"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
)

// TestRefusalsKeepLittle: whatever a request that is refused brings, and however
// much of it, of the refusal a bounded part is kept.
func TestRefusalsKeepLittle(t *testing.T) {
	const each, size = 24 << 10, 256 << 10
	long := func(begin string, i int) string { return begin + fmt.Sprint(i) + strings.Repeat("x", size) }
	jwt := func(claims string) string {
		part := base64.RawURLEncoding.EncodeToString
		return part([]byte(`{"alg":"RS256"}`)) + "." + part([]byte(claims)) + ".c2ln"
	}
	plain := func(i int) *http.Request { return httptest.NewRequest("GET", "/clusters/c1/api?n="+fmt.Sprint(i), nil) }
	for name, request := range map[string]func(i int) *http.Request{
		"request line": func(i int) *http.Request {
			line := long("GET /clusters/c1/api?q=", i)
			r := plain(i)
			r.Method, r.RequestURI = line[:3], line[4:]
			r.URL.Path = line[4:20]
			return r
		},
		"method": func(i int) *http.Request {
			r := plain(i)
			r.Method = long("M", i)
			return r
		},
		"issuer of a token": func(i int) *http.Request {
			r := plain(i)
			r.Header.Set("Authorization", "Bearer "+jwt(`{"iss":"https://issuer/`+long("", i)[:40<<10]+`"}`))
			return r
		},
		"issuer that is written with escapes": func(i int) *http.Request {
			r := plain(i)
			r.Header.Set("Authorization", "Bearer "+jwt(`{"iss":"https://issuer/\u00e4`+long("", i)[:40<<10]+`"}`))
			return r
		},
		"name of a certificate": func(i int) *http.Request {
			r := plain(i)
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: long("n", i)}, SerialNumber: big.NewInt(1)}}}
			return r
		},
		"serial number of a certificate": func(i int) *http.Request {
			r := plain(i)
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{SerialNumber: new(big.Int).Lsh(big.NewInt(1), 8*size)}}}
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			ca := authntest.NewCA(t, "clients")
			a, err := New(Config{ClientCAs: ca, Tokens: []token.Authenticator{fakeToken{name: "file"}}, Types: fakeTypes{types: &workspacetypes.Record{}}, Instance: "pod-1"})
			if err != nil {
				t.Fatal(err)
			}
			target := index.Target{Cluster: "c1", Type: index.Type{Cluster: "c1", Name: "team"}}
			kept := authntest.Retained(func() {
				for i := range 2 * ringSize {
					if d := a.Decide(t.Context(), requestOf(request(i), &target)); d.Status != http.StatusUnauthorized {
						t.Fatalf("status %d", d.Status)
					}
				}
			})
			t.Logf("%d bytes for each refusal that is kept", kept/ringSize)
			if kept > ringSize*each {
				t.Errorf("%d refusals keep %d bytes, want at most %d", ringSize, kept, ringSize*each)
			}
			runtime.KeepAlive(a)
		})
	}
}

// TestRefusalsKeepBoundedReasons: many authenticators that say much.
func TestRefusalsKeepBoundedReasons(t *testing.T) {
	s := newRefusals("pod", time.Now)
	kept := authntest.Retained(func() {
		for range ringSize {
			d := &Decision{}
			for range 1000 {
				d.Verdicts = append(d.Verdicts, Verdict{Authenticator: strings.Repeat("a", 1<<10), Outcome: Refused, Reason: strings.Repeat("r", 1<<11)})
				d.Guarded = append(d.Guarded, strings.Repeat("g", 1<<10))
			}
			s.add(&Request{}, d, CredentialSummary{})
			if len(d.Verdicts) != 1000 {
				t.Fatal("the decision itself was changed")
			}
			last := s.Find(d.ID).Decision.Verdicts
			if want := "more verdicts were not kept"; !strings.HasSuffix(last[len(last)-1].Reason, want) {
				t.Fatalf("the last verdict that is kept: %v, want %q", last[len(last)-1], want)
			}
		}
	})
	if kept > ringSize*(48<<10) {
		t.Errorf("%d refusals keep %d bytes", ringSize, kept)
	}
}

// TestRefusalIDsTellNothing: not the ring, and not how many there were.
func TestRefusalIDsTellNothing(t *testing.T) {
	s := newRefusals("pod", time.Now)
	rings := map[uint64]map[string]bool{}
	for i := range 4096 {
		d := &Decision{}
		cluster := []string{"one", "two"}[i%2]
		s.add(&Request{Target: index.Target{Cluster: cluster}}, d, CredentialSummary{})
		n, err := strconv.ParseUint(strings.TrimPrefix(d.ID, "pod-"), 36, 64)
		if err != nil {
			t.Fatal(err)
		}
		residue := n % refusalRings
		if rings[residue] == nil {
			rings[residue] = map[string]bool{}
		}
		rings[residue][cluster] = true
	}
	for residue := range uint64(refusalRings) {
		if len(rings[residue]) != 2 {
			t.Errorf("ids of %v only are %d modulo the number of rings", rings[residue], residue)
		}
	}
}
