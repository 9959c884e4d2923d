package main

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
)

// TestStreamsEndWithTheirCredential: a watch ends within 30 s of the removal of
// what admitted it, whether or not its credential has expired by then; an
// expired one by itself ends nothing, unless the flag says so.
func TestStreamsEndWithTheirCredential(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	kept, dropped, tenants := newIssuer(t), newIssuer(t), newIssuer(t)
	next, err := harness.NewCA(t.TempDir(), "next-ca")
	if err != nil {
		t.Fatal(err)
	}
	nextProxies, err := harness.NewCA(t.TempDir(), "next-requestheader-ca")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path, partial := filepath.Join(dir, name), filepath.Join(dir, "."+name)
		if err := os.WriteFile(partial, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(partial, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	i.kcp.Root.PutConfiguration("root", "issuer", trusting(tenants))
	for _, name := range []string{"stays", "leaves"} {
		cluster := name + "0000000001"
		i.kcp.Root.PutType("root", name, "issuer")
		i.kcp.Root.PutWorkspace("root", name, cluster, "root", name, nil)
		i.kcp.Root.PutCluster(cluster, "root:"+name, nil)
	}
	webhook := newReviewer(t, i.kcp)
	bot, legacy := boundToken(t, i.accounts[0], farTeam), legacyToken(t, i.accounts[0], farTeam, "bot-token")
	i.shard.PutServiceAccount(farTeam, "default", "bot", "bot-uid")
	i.shard.PutTokenSecret(farTeam, "default", "bot-token", legacy)
	tokens := "token-that-stays,frank,,abc\n"
	args := []string{
		"--client-ca-file=" + write("clients.crt", string(i.kcp.ClientCA.PEM)), "--feature-gates=WorkspaceAuthentication=true",
		"--token-auth-file=" + write("tokens.csv", tokens+"token-that-goes,grete,,abc\n"),
		"--authentication-config=" + write("authn.yaml", structured(kept, dropped)),
		"--service-account-key-file=" + i.accounts[0].CertFile,
		"--requestheader-client-ca-file=" + write("proxies.crt", string(i.kcp.RequestHeaderCA.PEM)), "--requestheader-allowed-names=kcp-mounts-proxy",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--authentication-token-webhook-config-file=" + write("webhook.kubeconfig", string(webhook.kubeconfig())), // remembers for 2 minutes
	}
	p, strict := i.start(args...), i.start(append(args, "--end-streams-at-expiry")...)

	const path = "/clusters/root:far/api/v1/pods"
	claims := func(aud string, until time.Time) issuertest.Claims {
		return issuertest.Claims{"sub": "dave", "aud": []string{aud}, "exp": until.Unix()}
	}
	later := time.Now().Add(time.Hour)
	for _, proxy := range []*runningProxy{p, strict} {
		for _, s := range []*issuertest.Issuer{kept, dropped} {
			proxy.await(proxy.client(), path, s.Sign(claims("kcp", later)), http.StatusOK)
		}
		for _, ws := range []string{"stays", "leaves"} {
			proxy.await(proxy.client(), "/clusters/root:"+ws+"/api", tenants.Sign(claims("ws", later)), http.StatusOK)
		}
	}
	stay := map[string]<-chan time.Time{
		"a service account":        p.watch(path, bot),
		"a token of the file":      p.watch(path, "token-that-stays"),
		"no expiry, with the flag": strict.watch(path, "token-that-stays"),
	}
	removed := map[string]<-chan time.Time{
		"what the webhook said yes to":                 p.watch(path, "erin-token"),
		"the Secret's token of a legacy account":       p.watch(path, legacy),
		"the CA of a proxy that asserts":               p.watchAs(asserting(p.client(i.users["mounts"]), "carol"), path, ""),
		"a token out of the file":                      p.watch(path, "token-that-goes"),
		"an issuer out of the configuration":           p.watch(path, dropped.Sign(claims("kcp", later))),
		"the type's configuration":                     p.watch("/clusters/root:leaves/api", tenants.Sign(claims("ws", later))),
		"the CA of a certificate, which has not ended": p.watchAs(p.client(certificateOf(t, i)), path, ""),
	}
	// What follows expires; all of it must be in use before, on a busy machine as well.
	ends := time.Now().Add(20 * time.Second)
	ending, err := i.kcp.ClientCA.ClientUntil(t.TempDir(), "dora", ends)
	if err != nil {
		t.Fatal(err)
	}
	certificate := func(p *runningProxy) *http.Client { return p.client(tlsCertificate(t, ending)) }
	expiring, expiringDropped := kept.Sign(claims("kcp", ends)), dropped.Sign(claims("kcp", ends))
	tenant := tenants.Sign(claims("ws", ends))
	atExpiry := map[string]<-chan time.Time{
		"OIDC token":           strict.watch(path, expiring),
		"token of a workspace": strict.watch("/clusters/root:stays/api", tenant),
		"certificate":          strict.watchAs(certificate(strict), path, ""),
	}
	stay["an expired OIDC token"] = p.watch(path, expiring)
	stay["an expired token of a workspace"] = p.watch("/clusters/root:stays/api", tenant)
	removed["the issuer of an expired token"] = p.watch(path, expiringDropped)
	removed["the type's configuration, of an expired token"] = p.watch("/clusters/root:leaves/api", tenant)
	removed["the CA of a certificate, which has ended"] = p.watchAs(certificate(p), path, "")
	for what, ended := range atExpiry {
		strict.endsWithin(what+" at its expiry", ended, time.Until(ends.Add(10*time.Second)))
	}
	if time.Now().Before(ends.Add(-time.Second)) { // counted in seconds
		t.Error("with the flag, watches ended before the expiry")
	}
	for what, ended := range removed {
		select {
		case <-ended:
			t.Fatalf("a watch has ended before the removal of %s", what)
		default:
		}
	}
	write("tokens.csv", tokens)
	write("authn.yaml", structured(kept))
	write("clients.crt", string(next.PEM))
	i.kcp.Root.PutType("root", "leaves")
	webhook.revoked.Store(true)
	i.shard.PutTokenSecret(farTeam, "default", "bot-token", "another")
	write("proxies.crt", string(nextProxies.PEM))
	for what, ended := range removed {
		p.endsWithin("without "+what, ended, 30*time.Second)
	}
	for what, ended := range stay {
		select {
		case <-ended:
			t.Errorf("%s: its watch has ended", what)
		default:
		}
	}
}

// asserting has a client say for whom it asks.
func asserting(c *http.Client, user string) *http.Client {
	next := c.Transport
	c.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set("X-Remote-User", user)
		return next.RoundTrip(r)
	})
	return c
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// certificateOf is a user's client certificate, good for a day.
func certificateOf(t *testing.T, i *installation) tls.Certificate {
	t.Helper()
	pair, err := i.kcp.ClientCA.Client(t.TempDir(), "emil")
	if err != nil {
		t.Fatal(err)
	}
	return tlsCertificate(t, pair)
}
