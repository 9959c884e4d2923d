package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
)

// TestMountedFilesAreFollowed: what Secrets and ConfigMaps hold is taken up
// when they change, without a restart.
func TestMountedFilesAreFollowed(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	pod := i.pod("/clusters/")
	first, second := newIssuer(t), newIssuer(t)
	pod.mount("/etc/kcp/authentication", map[string][]byte{"config.yaml": []byte(structured(first))})
	pod.mount("/etc/kcp/authentication/token", map[string][]byte{"token.csv": []byte("old-token,frank,\n")})
	pod.pair("/etc/kcp/tls/root/service-account", i.accounts[0])
	mountRequestHeaderCA("/etc/kcp/tls/ca/requestheader-client-ca")(i, pod)
	p := pod.run(i.kcp, slices.Concat(operatorArgs, operatorMountArgs, []string{
		"--authentication-config=/etc/kcp/authentication/config.yaml", "--token-auth-file=/etc/kcp/authentication/token/token.csv",
		"--service-account-lookup=false", "--service-account-key-file=/etc/kcp/tls/root/service-account/tls.crt",
	}))
	const path = "/clusters/root:far/api"
	anyone := p.client()
	of := func(s *issuertest.Issuer) string { return s.Sign(issuertest.Claims{"sub": "dave", "aud": "kcp"}) }
	// Each: known before, known after; the swap between.
	for _, tt := range []struct {
		name, before, after string
		swap                func()
	}{
		{"authentication config", of(first), of(second), func() {
			pod.mount("/etc/kcp/authentication", map[string][]byte{"config.yaml": []byte(structured(second))})
		}},
		{"token file", "old-token", "new-token", func() {
			pod.mount("/etc/kcp/authentication/token", map[string][]byte{"token.csv": []byte("new-token,frank,\n")})
		}},
		{"service account keys", boundToken(t, i.accounts[0], farTeam), boundToken(t, i.accounts[1], farTeam), func() {
			pod.mount("/etc/kcp/tls/root/service-account", map[string][]byte{"tls.crt": i.accounts[1].Cert})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &runningProxy{t: t, kcp: p.kcp, url: p.url}
			p.await(anyone, path, tt.before, http.StatusOK)
			p.await(anyone, path, tt.after, http.StatusUnauthorized)
			tt.swap()
			p.await(anyone, path, tt.after, http.StatusOK)
			p.await(anyone, path, tt.before, http.StatusUnauthorized)
		})
	}
	next, err := harness.NewCA(t.TempDir(), "next-ca")
	if err != nil {
		t.Fatal(err)
	}
	i.users["next"] = i.issue(next.Client(t.TempDir(), "alice", "devs"))
	for _, tt := range []struct{ name, volume, before string }{
		{"client CA", "/etc/kcp-front-proxy/client-ca", "alice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &runningProxy{t: t, kcp: p.kcp, url: p.url}
			before, after := i.client(p, tt.before), i.client(p, "next")
			p.await(before, path, "", http.StatusOK)
			p.await(after, path, "", http.StatusUnauthorized)
			pod.mount(tt.volume, map[string][]byte{"tls.crt": next.PEM})
			p.await(after, path, "", http.StatusOK)
			p.await(before, path, "", http.StatusUnauthorized) // on the connection it has, too
		})
	}
	t.Run("serving certificate", func(t *testing.T) {
		renewed, err := i.kcp.ServingCA.Serving(t.TempDir(), "renewed")
		if err != nil {
			t.Fatal(err)
		}
		pod.mount("/etc/kcp-front-proxy/tls", map[string][]byte{"tls.crt": renewed.Cert, "tls.key": renewed.Key})
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(i.kcp.ServingCA.PEM)
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			conn, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), &tls.Config{RootCAs: roots})
			if err != nil {
				t.Fatal(err)
			}
			name := conn.ConnectionState().PeerCertificates[0].Subject.CommonName
			_ = conn.Close()
			if name == "renewed" {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%q serves after 20 s", name)
			}
		}
	})
}
