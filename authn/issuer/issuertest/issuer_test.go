package issuertest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"frontproxy/authn/issuer/issuertest"
)

// client trusts only the issuer's CA and keeps no connections.
func client(t *testing.T, s *issuertest.Issuer) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(s.CAPEM())) {
		t.Fatal("CA is no PEM")
	}
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}
}

// An independent client, go-oidc, must accept what it serves and signs.
func TestGoOIDCAcceptsIt(t *testing.T) {
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.PS384, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA} {
		t.Run(string(alg), func(t *testing.T) {
			s, err := issuertest.New(issuertest.Options{Algorithm: alg})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			ctx := oidc.ClientContext(context.Background(), client(t, s))
			provider, err := oidc.NewProvider(ctx, s.URL())
			if err != nil {
				t.Fatal(err)
			}
			verifier := provider.Verifier(&oidc.Config{ClientID: "app"})
			token, err := verifier.Verify(ctx, s.Sign(issuertest.Claims{"aud": "app", "sub": "alice"}))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff("alice", token.Subject); diff != "" {
				t.Errorf("subject (-want +got):\n%s", diff)
			}
			s.Rotate()
			// go-oidc gives the keys that it has just fetched to who asks for them a
			// moment too early, so one refusal may be of the time before.
			for left := 10; ; left-- {
				_, err := verifier.Verify(ctx, s.Sign(issuertest.Claims{"aud": "app"}))
				if err == nil {
					break
				}
				if left == 0 {
					t.Fatalf("after rotation: %v", err)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
}

func TestGoOIDCRefusesHostileTokens(t *testing.T) {
	s, err := issuertest.New(issuertest.Options{Algorithm: jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other, err := issuertest.New(issuertest.Options{Algorithm: jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ctx := oidc.ClientContext(context.Background(), client(t, s))
	provider, err := oidc.NewProvider(ctx, s.URL())
	if err != nil {
		t.Fatal(err)
	}
	claims := issuertest.Claims{"aud": "app"}
	for name, token := range map[string]string{
		"wrong key":  s.Sign(claims, issuertest.KeyOf(other)),
		"none":       s.Sign(claims, issuertest.Unsigned()),
		"HS256":      s.Sign(claims, issuertest.PublicKeyAsSecret()),
		"no expiry":  s.Sign(issuertest.Claims{"aud": "app", "exp": nil}),
		"other name": s.Sign(issuertest.Claims{"aud": "app", "iss": "https://other.example"}),
	} {
		if _, err := provider.Verifier(&oidc.Config{ClientID: "app"}).Verify(ctx, token); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDown(t *testing.T) {
	s, err := issuertest.New(issuertest.Options{Algorithm: jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := oidc.ClientContext(context.Background(), client(t, s))
	s.SetDown(true)
	if _, err := oidc.NewProvider(ctx, s.URL()); err == nil {
		t.Fatal("answers while down")
	}
	s.SetDown(false)
	if _, err := oidc.NewProvider(ctx, s.URL()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(1, s.Discoveries()); diff != "" {
		t.Errorf("discoveries (-want +got):\n%s", diff)
	}
}
