package oidc

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/internal/authntest"
	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/issuer"
	"frontproxy/authn/issuer/issuertest"
	"frontproxy/authn/token"
)

func TestOIDCFlags(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	s.Sign(nil, issuertest.Algorithm(jose.RS256)) // makes the key, before keys are read
	ca := filepath.Join(t.TempDir(), "ca.crt")
	authntest.WriteFile(t, ca, s.CAPEM())
	pool := tokentest.RunPool(t, issuer.Config{})
	claims := func(more issuertest.Claims) issuertest.Claims {
		all := issuertest.Claims{"sub": "u-1", "aud": "kubectl", "email": "a@example", "email_verified": true, "groups": []string{"dev", "ops"}, "team": "x"}
		for k, v := range more {
			all[k] = v
		}
		return all
	}
	prefix := s.URL() + "#"
	for name, tc := range map[string]struct {
		change  func(*Flags)
		claims  issuertest.Claims
		sign    []issuertest.SignOption
		want    *user.DefaultInfo
		wantErr string
	}{
		"defaults":                {want: &user.DefaultInfo{Name: prefix + "u-1"}},
		"prefix":                  {change: func(f *Flags) { f.UsernamePrefix = "oidc:" }, want: &user.DefaultInfo{Name: "oidc:u-1"}},
		"no prefix":               {change: func(f *Flags) { f.UsernamePrefix = "-" }, want: &user.DefaultInfo{Name: "u-1"}},
		"email":                   {change: func(f *Flags) { f.UsernameClaim = "email" }, want: &user.DefaultInfo{Name: "a@example"}},
		"email, prefix":           {change: func(f *Flags) { f.UsernameClaim, f.UsernamePrefix = "email", "e:" }, want: &user.DefaultInfo{Name: "e:a@example"}},
		"email, not verified":     {change: func(f *Flags) { f.UsernameClaim = "email" }, claims: issuertest.Claims{"email_verified": false}, wantErr: "email not verified"},
		"another claim":           {change: func(f *Flags) { f.UsernameClaim = "team" }, want: &user.DefaultInfo{Name: prefix + "x"}},
		"groups":                  {change: func(f *Flags) { f.GroupsClaim = "groups" }, want: &user.DefaultInfo{Name: prefix + "u-1", Groups: []string{"dev", "ops"}}},
		"groups, prefix":          {change: func(f *Flags) { f.GroupsClaim, f.GroupsPrefix = "groups", "g:" }, want: &user.DefaultInfo{Name: prefix + "u-1", Groups: []string{"g:dev", "g:ops"}}},
		"groups, one as string":   {change: func(f *Flags) { f.GroupsClaim = "team" }, want: &user.DefaultInfo{Name: prefix + "u-1", Groups: []string{"x"}}},
		"required claim":          {change: func(f *Flags) { f.RequiredClaims = map[string]string{"team": "x", "sub": "u-1"} }, want: &user.DefaultInfo{Name: prefix + "u-1"}},
		"required claim, another": {change: func(f *Flags) { f.RequiredClaims = map[string]string{"team": "y"} }, wantErr: "team"},
		"required claim, missing": {change: func(f *Flags) { f.RequiredClaims = map[string]string{"none": "y"} }, wantErr: "none"},
		"another audience":        {claims: issuertest.Claims{"aud": "other"}, wantErr: "audience"},
		"expired":                 {claims: issuertest.Claims{"exp": time.Now().Add(-time.Minute).Unix()}, wantErr: "expired"},
		"algorithm not allowed":   {change: func(f *Flags) { f.SigningAlgs = nil }, wantErr: "--oidc-signing-algs"},
		"algorithm allowed":       {change: func(f *Flags) { f.SigningAlgs = nil }, sign: []issuertest.SignOption{issuertest.Algorithm(jose.RS256)}, want: &user.DefaultInfo{Name: prefix + "u-1"}},
		"distributed groups": {
			change:  func(f *Flags) { f.GroupsClaim = "groups" },
			claims:  issuertest.Claims{"groups": nil, "_claim_names": map[string]any{"groups": "src"}, "_claim_sources": map[string]any{"src": map[string]any{"endpoint": s.URL() + "/groups", "access_token": "x"}}},
			wantErr: "distributed claims",
		},
		"signed by another": {sign: []issuertest.SignOption{issuertest.KeyOf(issuertest.Serve(t, issuertest.Options{}))}, wantErr: "signature"},
		"hmac":              {sign: []issuertest.SignOption{issuertest.PublicKeyAsSecret()}, wantErr: "--oidc-signing-algs"},
		"unsigned":          {sign: []issuertest.SignOption{issuertest.Unsigned()}, wantErr: "--oidc-signing-algs"},
	} {
		t.Run(name, func(t *testing.T) {
			flags := Flags{IssuerURL: s.URL(), ClientID: "kubectl", CAFile: ca, SigningAlgs: []string{"ES256"}}
			if tc.change != nil {
				tc.change(&flags)
			}
			o, err := New(Config{Flags: flags, Issuers: pool})
			if err != nil {
				t.Fatal(err)
			}
			u, err := tokentest.Ask(t, o, s.Sign(claims(tc.claims), tc.sign...))
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) || errors.Is(err, token.ErrUndecided) {
					t.Fatalf("error %v, want one with %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := &user.DefaultInfo{Name: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups()}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOIDCFlagsErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.crt")
	empty := filepath.Join(t.TempDir(), "empty.crt")
	authntest.WriteFile(t, empty, "")
	good := Flags{IssuerURL: "https://issuer.example", ClientID: "kubectl"}
	for name, tc := range map[string]struct {
		change func(*Flags)
		want   string
	}{
		"nothing":                      {func(f *Flags) { *f = Flags{} }, "--oidc-issuer-url"},
		"no client id":                 {func(f *Flags) { f.ClientID = "" }, "--oidc-client-id"},
		"no issuer":                    {func(f *Flags) { f.IssuerURL = "" }, "--oidc-issuer-url"},
		"plain http":                   {func(f *Flags) { f.IssuerURL = "http://issuer.example" }, "https"},
		"the service accounts' issuer": {func(f *Flags) { f.IssuerURL = "https://kcp.default.svc" }, "https://kcp.default.svc"},
		"CA missing":                   {func(f *Flags) { f.CAFile = missing }, missing},
		"CA empty":                     {func(f *Flags) { f.CAFile = empty }, empty},
		"unknown algorithm":            {func(f *Flags) { f.SigningAlgs = []string{"RS256", "HS256"} }, `"HS256"`},
	} {
		t.Run(name, func(t *testing.T) {
			flags := good
			tc.change(&flags)
			_, err := New(Config{Flags: flags, Issuers: issuer.NewPool(issuer.Config{}), DisallowedIssuers: []string{"https://kcp.default.svc"}})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one that names %q", err, tc.want)
			}
		})
	}
}

// A new CA file is read, as when the issuer's certificates are renewed.
func TestOIDCFlagsFollowCA(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	other, err := issuertest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.crt")
	authntest.WriteFile(t, ca, other.PEM())
	o, err := New(Config{Flags: Flags{IssuerURL: s.URL(), ClientID: "kubectl", CAFile: ca, SigningAlgs: []string{"ES256"}}, Issuers: tokentest.RunPool(t, issuer.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	raw := s.Sign(issuertest.Claims{"sub": "u", "aud": "kubectl"})
	if _, _, err := o.AuthenticateToken(t.Context(), token.Parse(raw)); !errors.Is(err, token.ErrUndecided) {
		t.Fatalf("error %v, want undecided: the issuer's certificate is not trusted", err)
	}
	authntest.Follow(t, o.Run, func() { authntest.WriteFile(t, ca, s.CAPEM()) }, func() bool {
		u, _, _ := o.AuthenticateToken(t.Context(), token.Parse(raw))
		return u != nil
	})
}

// TestOperatorsTokensMayBeLarge: 300 groups of long names are normal, and kube's
// only limit is that of headers.
func TestOperatorsTokensMayBeLarge(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	s.Sign(nil, issuertest.Algorithm(jose.RS256))
	ca := filepath.Join(t.TempDir(), "ca.crt")
	authntest.WriteFile(t, ca, s.CAPEM())
	o, err := New(Config{
		Flags:   Flags{IssuerURL: s.URL(), ClientID: "kubectl", CAFile: ca, GroupsClaim: "groups", UsernamePrefix: "-"},
		Issuers: tokentest.RunPool(t, issuer.Config{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, length := range []int{100, 900} { // tokens of 40 KiB and 360 KiB
		var groups []string
		for n := range 300 {
			groups = append(groups, fmt.Sprintf("%0*d", length, n))
		}
		raw := s.Sign(issuertest.Claims{"sub": "u-1", "aud": "kubectl", "groups": groups}, issuertest.Algorithm(jose.RS256))
		u, err := tokentest.Ask(t, o, raw)
		if err != nil {
			t.Fatalf("%d bytes: %v", len(raw), err)
		}
		if diff := cmp.Diff(groups, u.GetGroups()); diff != "" {
			t.Errorf("%d bytes: groups (-want +got):\n%s", len(raw), diff)
		}
	}
}
