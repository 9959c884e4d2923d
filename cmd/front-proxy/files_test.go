package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
	"frontproxy/e2e/standin"
	"frontproxy/internal/filewatch"
)

// inPlace writes a file as an editor or a shell does: it is there, then it is
// empty, then it has the text.
func inPlace(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// copied is a copy of the file that a flag of args names, which the flag names
// from then on.
func copied(t *testing.T, args []string, flag string) string {
	t.Helper()
	for i, arg := range args {
		if file, ok := strings.CutPrefix(arg, "--"+flag+"="); ok {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			own := filepath.Join(t.TempDir(), flag)
			inPlace(t, own, string(text))
			args[i] = "--" + flag + "=" + own
			return own
		}
	}
	t.Fatalf("no --%s in %q", flag, args)
	return ""
}

// TestEmptiedFiles: files that are emptied revoke nobody and break nothing: not
// the tokens, not the certificates, not the watches that go on by the kubeconfigs.
// Metric and /statusz tell of each. Lines that are removed are revoked, and there
// is a way to revoke all.
func TestEmptiedFiles(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	k.Root.PutWorkspace("root", "team", "team000000000001", "root", "universal", nil)
	k.Root.PutCluster("team000000000001", "root:universal", nil)
	const (
		team   = "/clusters/root:team/api"
		reader = "token-of-prometheus"
		leaver = "token-of-a-leaver"
		lines  = reader + ",prometheus,1," + standin.MetricsReader + "\n"
	)
	args, url := arguments(t, k)
	tokens := filepath.Join(t.TempDir(), "tokens.csv")
	inPlace(t, tokens, lines+leaver+",leaver,2\n")
	files := map[string]string{"token-auth-file": tokens}
	for _, flag := range []string{"mapping-file", "root-kubeconfig", "shards-kubeconfig", "tls-cert-file", "client-ca-file"} {
		files[flag] = copied(t, args, flag)
	}
	args = append(args, "--token-auth-file="+tokens)
	for flag, ca := range map[string]*harness.CA{"requestheader-client-ca-file": k.RequestHeaderCA} {
		files[flag] = filepath.Join(t.TempDir(), flag)
		inPlace(t, files[flag], string(ca.PEM))
		args = append(args, "--"+flag+"="+files[flag], "--requestheader-allowed-names=mounts", "--requestheader-username-headers=X-Remote-User")
	}
	p := startProxy(t, k, url, args)
	dora := p.client(certificate(t, k, "dora"))
	p.await(p.client(), team, leaver, http.StatusOK)
	p.await(dora, team, "", http.StatusOK)
	watch := p.watch(team, leaver)

	for _, file := range files {
		if err := os.Truncate(file, 0); err != nil {
			t.Fatal(err)
		}
	}
	for flag := range files {
		p.awaitMetric(reader, fmt.Sprintf("front_proxy_config_last_reload_successful{source=%q} 0", flag))
	}
	page := p.statusz(reader)
	for flag := range files {
		if !strings.Contains(page, flag) || !strings.Contains(page, "is empty") {
			t.Errorf("/statusz does not tell of %s:\n%s", flag, page)
		}
	}
	p.await(p.client(), team, leaver, http.StatusOK)
	p.await(dora, team, "", http.StatusOK)
	k.Root.Expire() // the watches begin anew
	k.Root.PutWorkspace("root", "late", "late000000000001", "root", "universal", nil)
	k.Root.PutCluster("late000000000001", "root:universal", nil)
	p.await(dora, "/clusters/root:late/api", "", http.StatusOK)
	select {
	case <-watch:
		t.Error("the watch has ended")
	default:
	}

	inPlace(t, tokens, lines)
	p.await(p.client(), team, leaver, http.StatusUnauthorized)
	p.awaitMetric(reader, `front_proxy_config_last_reload_successful{source="token-auth-file"} 1`)
	inPlace(t, tokens, ",,\n") // a line without a token: nobody is left
	p.await(p.client(), team, reader, http.StatusUnauthorized)
}

// TestAuthenticationConfigInTwoParts: the first part of a configuration, which is
// good YAML and has no rules yet, is never believed; nor when SIGHUP comes
// between the parts.
func TestAuthenticationConfigInTwoParts(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	issuer := newIssuer(t)
	const team, rules = "/clusters/root:team/api", "  claimValidationRules:\n  - expression: claims.sub != 'mallory'\n    message: not mallory\n"
	config := filepath.Join(t.TempDir(), "authn.yaml")
	inPlace(t, config, structured(issuer)+rules)
	p := i.start("--authentication-config=" + config)
	token := func(user string) string {
		return issuer.Sign(issuertest.Claims{"sub": user, "aud": []string{"kcp"}, "exp": time.Now().Add(time.Hour).Unix()})
	}
	p.await(p.client(), team, token("dave"), http.StatusOK)
	p.await(p.client(), team, token("mallory"), http.StatusUnauthorized)

	parts := strings.Replace(structured(issuer), "s0:", "second:", 1)
	f, err := os.OpenFile(config, os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.WriteString(parts); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	client := p.client()
	for deadline := time.Now().Add(filewatch.Settle / 2); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if code, _ := p.ask(client, team, token("mallory")); code != http.StatusUnauthorized {
			t.Fatalf("between the parts mallory is answered %d", code)
		}
	}
	if _, err := f.WriteString(rules); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for user := ""; user != "second:dave"; time.Sleep(50 * time.Millisecond) {
		if code, _ := p.ask(client, team, token("mallory")); code != http.StatusUnauthorized {
			t.Fatalf("after the parts mallory is answered %d", code)
		}
		_, me := p.ask(client, team, token("dave"))
		if user = me.User; time.Now().After(deadline) {
			t.Fatalf("the configuration is not used: dave is %q", user)
		}
	}
}

// TestHangup: SIGHUP ends nothing, and has files looked at that tell of no change:
// a link leads to where nobody looks.
func TestHangup(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	k.Root.PutWorkspace("root", "team", "team000000000001", "root", "universal", nil)
	k.Root.PutCluster("team000000000001", "root:universal", nil)
	const team, token = "/clusters/root:team/api", "token-of-a-leaver"
	elsewhere, link := filepath.Join(t.TempDir(), "tokens.csv"), filepath.Join(t.TempDir(), "tokens.csv")
	inPlace(t, elsewhere, token+",leaver,1\n")
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Fatal(err)
	}
	args, url := arguments(t, k)
	p := startProxy(t, k, url, append(args, "--token-auth-file="+link))
	p.await(p.client(), team, token, http.StatusOK)
	watch := p.watch("/clusters/root:team/api", token)
	inPlace(t, elsewhere, "other-token,other,1\n")
	start := time.Now()
	for code := http.StatusOK; code != http.StatusUnauthorized; time.Sleep(50 * time.Millisecond) {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if code, _ = p.ask(p.client(), team, token); time.Since(start) > filewatch.Every/2 {
			t.Fatalf("after SIGHUP the token is answered %d", code)
		}
	}
	p.endsWithin("the watch of a token that went", watch, time.Minute)
	p.await(p.client(), team, "other-token", http.StatusOK)
}
