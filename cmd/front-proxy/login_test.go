package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/internal/protectedresource"
)

// What the operator's flags and a type's annotations tell, through the whole
// program; and what --debug-address and 401s say.
func TestLoginDiscoveryFlags(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	mine, theirs := newRSAIssuer(t), newIssuer(t)
	k.Root.PutAnnotatedConfiguration("root", "a", map[string]string{"front-proxy.kcp.io/login-client-id": "ws"}, trusting(theirs))
	k.Root.PutType("root", "team", "a")
	const cluster = "clusterlogin0001"
	k.Root.PutWorkspace("root", "team", cluster, "root", "team", nil)
	k.Root.PutCluster(cluster, "root:team", nil)
	args, url := arguments(t, k, k.MappingEntry("/clusters/"))
	dir := t.TempDir()
	ca, secret := filepath.Join(dir, "ca"), filepath.Join(dir, "secret")
	for file, text := range map[string]string{ca: mine.CAPEM(), secret: "told to all\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := startProxy(t, k, url, append(args, "--feature-gates=WorkspaceAuthentication=true,LoginDiscovery=true", "--external-url="+url,
		"--oidc-issuer-url="+mine.URL(), "--oidc-client-id=kubectl", "--oidc-ca-file="+ca,
		"--login-client=issuer-url="+mine.URL()+",client-id=kubectl,name=Ours,scopes=openid email,ca-file="+ca+",client-secret-file="+secret))
	client := p.client()
	p.await(client, "/clusters/root:team/api", theirs.Sign(issuertest.Claims{"sub": "alice", "aud": "ws"}), http.StatusOK)
	for path, want := range map[string][]string{"": {mine.URL()}, "/clusters/root:team": {theirs.URL(), mine.URL()}, "/clusters/root:nobody": {mine.URL()}} {
		res, err := client.Get(url + protectedresource.WellKnownPath + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		m, err := protectedresource.Parse(body, url+path)
		if err != nil {
			t.Fatalf("%s: %v: %s", path, err, body)
		}
		if got := strings.Join(m.AuthorizationServers, " "); got != strings.Join(want, " ") {
			t.Errorf("%s: issuers %s, want %s", path, got, want)
		}
		ours := m.Clients[len(m.Clients)-1]
		if ours.Name != "Ours" || ours.ClientSecret != "told to all" || ours.CertificateAuthority != strings.TrimSpace(mine.CAPEM()) || len(ours.Scopes) != 2 {
			t.Errorf("%s: the operator's client is %+v", path, ours)
		}
	}
	res, err := client.Get(url + "/clusters/root:team/api")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if want := `Bearer resource_metadata="` + url + protectedresource.WellKnownPath + `/clusters/root:team"`; res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") != want {
		t.Errorf("%s with %q, want %q", res.Status, res.Header.Get("WWW-Authenticate"), want)
	}
}

// What is wrong with the flags is told at the start.
func TestLoginDiscoveryFlagsAreChecked(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	good, _ := arguments(t, k)
	on, url := "--feature-gates=LoginDiscovery=true", "--external-url=https://kcp.example"
	for name, test := range map[string]struct {
		args []string
		want string // in an error; empty: none
	}{
		"no external URL":            {[]string{on}, "login discovery needs --external-url"},
		"one with a path":            {[]string{on, "--external-url=https://kcp.example/below"}, "without a path"},
		"all alpha, no external URL": {[]string{"--feature-gates=AllAlpha=true"}, ""},
		"no such key":                {[]string{"--login-client=issuer=https://a"}, `unknown key "issuer"; the keys are issuer-url`},
		"no key":                     {[]string{"--login-client=issuer-url=https://a,,client-id=a"}, `"" is not of the form key=value`},
		"twice the same":             {[]string{"--login-client=client-id=a,client-id=b"}, `the key "client-id" occurs twice`},
		"nobody accepts its tokens":  {[]string{on, url, "--login-client=issuer-url=https://a.example,client-id=a"}, "no authenticator accepts tokens of https://a.example"},
		"almost the issuer":          {[]string{on, url, "--oidc-issuer-url=https://a.example", "--oidc-client-id=a", "--login-client=issuer-url=https://a.example/,client-id=a"}, "no authenticator accepts tokens of https://a.example/: "},
		"the issuer":                 {[]string{on, url, "--oidc-issuer-url=https://a.example", "--oidc-client-id=a", "--login-client=issuer-url=https://a.example,client-id=a"}, ""},
		"no client id":               {[]string{"--login-client=issuer-url=https://a.example"}, "client id is empty"},
		"no file":                    {[]string{"--login-client=issuer-url=https://a.example,client-id=a,ca-file=/gone"}, "ca-file: open /gone"},
	} {
		found, _ := check(t, append(append([]string{}, good...), test.args...)...)
		text := strings.Join(found.Errors, "\n")
		if (test.want == "") != (text == "") || !strings.Contains(text, test.want) {
			t.Errorf("%s: %q, want %q", name, text, test.want)
		}
	}
}

// What is tried has the annotations that say how to log in, and no others.
func TestDryRunTakesLoginAnnotations(t *testing.T) {
	change, _, err := readChange([]byte(`kind: WorkspaceAuthenticationConfiguration
metadata: {name: a, annotations: {front-proxy.kcp.io/login-client-id: kubectl, other: x}}
spec: {jwt: []}
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := change.Annotations["a"]; len(got) != 1 || got["front-proxy.kcp.io/login-client-id"] != "kubectl" {
		t.Errorf("the annotations are %v", got)
	}
}
