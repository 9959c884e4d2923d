package main

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	clientauthentication "k8s.io/client-go/pkg/apis/clientauthentication/v1"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/internal/protectedresource"
)

// From a URL to a token: asked once, logged in once, and a kubeconfig that works.
func TestLogin(t *testing.T) {
	i, logins := newIssuer(t)
	h := newHost(t)
	h.tell("root:acme:one", clientOf(i))
	h.tell("root:acme:two", clientOf(i))
	p := newPerson(t, i)

	for _, answer := range []string{"", "no\n", "y\n", "YES\n"} {
		if err := p.login(h, "root:acme:one", answer); err == nil {
			t.Fatalf("it went on after %q", answer)
		}
	}
	p.wantSaid(i.URL(), "kubectl", "email openid", "SHA-256", h.URL)
	if i.Discoveries()+i.KeyFetches() != 0 {
		t.Error("the issuer was asked before the person said yes")
	}
	if _, err := os.Stat(p.kubeconfig); err == nil {
		t.Error("a kubeconfig was written before the person said yes")
	}

	check(t, p.login(h, "root:acme:one", "yes\n"))
	p.wantSaid("You are oidc:alice", "root:acme:one@"+strings.TrimPrefix(h.URL, "https://"))
	c := p.config()
	ask := c.AuthInfos[c.Contexts[c.CurrentContext].AuthInfo].Exec
	if ask.APIVersion != "client.authentication.k8s.io/v1" || ask.InteractiveMode != "IfAvailable" || !ask.ProvideClusterInfo {
		t.Errorf("the kubeconfig has %+v", ask)
	}
	if p.cluster().Server != h.workspace("root:acme:one") {
		t.Errorf("the kubeconfig leads to %s", p.cluster().Server)
	}
	token, err := p.getToken(false, nil)
	check(t, err)
	if last := h.seen(); token != last[len(last)-1] {
		t.Error("kubectl gets another token than the login's")
	}

	check(t, p.login(h, "root:acme:two", "")) // the same tuple: nothing is asked, nobody logs in
	if diff := cmp.Diff(map[string]int{"authorization_code": 1}, logins.Grants()); diff != "" {
		t.Errorf("grants: %s", diff)
	}
	if len(p.config().Contexts) != 2 {
		t.Errorf("the kubeconfig has the contexts %v, want both", p.config().Contexts)
	}
	for _, form := range logins.TokenRequests() {
		if form.Get("code_verifier") == "" {
			t.Error("a code was redeemed without PKCE")
		}
	}
	check(t, filepath.WalkDir(p.home, func(path string, d fs.DirEntry, err error) error {
		check(t, err)
		info, err := d.Info()
		check(t, err)
		if strings.Contains(path, "logins") && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %04o", path, info.Mode().Perm())
		}
		return nil
	}))
}

// A change of any part of the tuple is asked about, and before the yes nothing goes
// to the issuer.
func TestEveryTupleIsAskedFor(t *testing.T) {
	i, _ := newIssuer(t)
	other, _ := newIssuer(t)
	h, stranger := newHost(t), newHost(t)
	p := newPerson(t, i, other)
	h.tell("root:one", clientOf(i))
	check(t, p.login(h, "root:one", "yes\n"))
	before, beforeOther := i.Discoveries(), other.Discoveries()

	edited := func(edit func(*protectedresource.Client)) protectedresource.Client {
		c := clientOf(i)
		edit(&c)
		return c
	}
	for name, test := range map[string]struct {
		at     *host
		client protectedresource.Client
		said   string
	}{
		"a stranger's server": {stranger, clientOf(i), "You trust this issuer for " + h.URL + " already"},
		"another client":      {h, edited(func(c *protectedresource.Client) { c.ClientID = "other" }), "with client kubectl"},
		"another CA":          {h, edited(func(c *protectedresource.Client) { c.CertificateAuthority = other.CAPEM() }), "CAREFUL"},
		"the system's CAs":    {h, edited(func(c *protectedresource.Client) { c.CertificateAuthority = "" }), "CAREFUL"},
		"more scopes":         {h, edited(func(c *protectedresource.Client) { c.Scopes = append(c.Scopes, "drive") }), "and scopes email openid"},
		"another issuer":      {h, clientOf(other), "So far you trusted another issuer here: " + i.URL()},
		"a look-alike of the issuer": {h, edited(func(c *protectedresource.Client) {
			c.Issuer = strings.Replace(i.URL(), "127.0.0.1", "127.0.0.1.evil.example", 1)
		}), "evil.example"},
		"a stranger with another CA": {stranger, edited(func(c *protectedresource.Client) { c.CertificateAuthority = other.CAPEM() }), "CAREFUL"},
	} {
		seen := len(h.seen()) + len(stranger.seen())
		test.at.tell("root:two", test.client)
		if err := p.login(test.at, "root:two", ""); err == nil {
			t.Errorf("%s: nothing was asked", name)
		}
		p.wantSaid(test.said)
		if i.Discoveries() != before || other.Discoveries() != beforeOther {
			t.Errorf("%s: an issuer was asked before the yes", name)
		}
		if len(h.seen())+len(stranger.seen()) != seen {
			t.Errorf("%s: a token was sent", name)
		}
	}
	h.tell("root:two", edited(func(c *protectedresource.Client) { c.Scopes = []string{"email", "openid", "email"} }))
	check(t, p.login(h, "root:two", "")) // the same scopes otherwise put
}

// What the server tells must be about what was asked for, and fit to be shown.
func TestUnusableMetadata(t *testing.T) {
	i, _ := newIssuer(t)
	h := newHost(t)
	p := newPerson(t, i)
	for name, test := range map[string]struct {
		edit func(*protectedresource.Metadata)
		said string
	}{
		"another workspace":       {func(m *protectedresource.Metadata) { m.Resource = h.workspace("root:two") }, "not about"},
		"another host":            {func(m *protectedresource.Metadata) { m.Resource = "https://kcp.example/clusters/root:one" }, "not about"},
		"a slash more":            {func(m *protectedresource.Metadata) { m.Resource += "/" }, "not about"},
		"a name that paints":      {func(m *protectedresource.Metadata) { m.Clients[0].Name = "\x1b[2J" }, "invisible characters"},
		"an issuer without TLS":   {func(m *protectedresource.Metadata) { m.Clients[0].Issuer = "http://login.example" }, "must be an https URL"},
		"foreign letters":         {func(m *protectedresource.Metadata) { m.Clients[0].Issuer = "https://lоgin.example" }, "xn--"},
		"a client with a newline": {func(m *protectedresource.Metadata) { m.Clients[0].ClientID = "kubectl\n  issuer  https://good.example" }, "visible ASCII"},
		"no clients":              {func(m *protectedresource.Metadata) { m.Clients = nil }, "no issuer at which this program can log in"},
	} {
		h.tell("root:one", clientOf(i)) // anew: an edit changes it
		h.with(func() { h.edit = test.edit })
		if err := p.login(h, "root:one", "yes\n"); err == nil {
			t.Errorf("%s: it was used", name)
		}
		p.wantSaid(test.said)
	}
	h.with(func() { h.edit = nil })
	if err := p.login(h, "root:none", "yes\n"); err == nil {
		t.Error("a workspace that tells nothing was used")
	}
	p.wantSaid("does not say where users of", "root:none")
	if i.Discoveries() != 0 {
		t.Error("the issuer was asked")
	}
}

// A kubeconfig is not believed: its token goes to the host that was agreed to,
// verified as it was then, and nowhere else.
func TestTokenGoesToNoOtherHost(t *testing.T) {
	i, _ := newIssuer(t)
	h, stranger := newHost(t), newHost(t)
	p := newPerson(t, i)
	h.tell("root:one", clientOf(i))
	check(t, p.login(h, "root:one", "yes\n"))
	strangersCA, err := os.ReadFile(stranger.caFile)
	check(t, err)
	for name, edit := range map[string]func(*clientauthentication.Cluster){
		"another host": func(c *clientauthentication.Cluster) { c.Server = stranger.workspace("root:one") },
		"another port": func(c *clientauthentication.Cluster) { c.Server = "https://127.0.0.1:1/clusters/root:one" },
		"no TLS":       func(c *clientauthentication.Cluster) { c.Server = strings.Replace(c.Server, "https", "http", 1) },
		"the host as a user": func(c *clientauthentication.Cluster) {
			c.Server = strings.Replace(h.URL, "https://", "https://"+strings.TrimPrefix(h.URL, "https://")+"@evil.example:", 1)
		},
		"no server":  func(c *clientauthentication.Cluster) { c.Server = "" },
		"another CA": func(c *clientauthentication.Cluster) { c.CertificateAuthorityData = strangersCA },
		"one CA more": func(c *clientauthentication.Cluster) {
			c.CertificateAuthorityData = append(c.CertificateAuthorityData, strangersCA...)
		},
		"the system's CAs":    func(c *clientauthentication.Cluster) { c.CertificateAuthorityData = nil },
		"no verification":     func(c *clientauthentication.Cluster) { c.InsecureSkipTLSVerify = true },
		"another name in TLS": func(c *clientauthentication.Cluster) { c.TLSServerName = "evil.example" },
	} {
		if token, err := p.getToken(true, edit); err == nil || token != "" {
			t.Errorf("%s: it gave a token", name)
		}
	}
	if _, err := p.getToken(false, func(c *clientauthentication.Cluster) { c.Server = h.workspace("root:other") }); err != nil {
		t.Errorf("another workspace of the host: %v", err)
	}
	for name, info := range map[string]string{
		"no cluster":     `{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"interactive":true}}`,
		"an old kubectl": `{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential","spec":{}}`,
		"nothing":        "",
	} {
		t.Setenv(execInfo, info)
		c := p.config()
		if out, err := p.run(c.AuthInfos[c.Contexts[c.CurrentContext].AuthInfo].Exec.Args...); err == nil || out != "" {
			t.Errorf("%s: it gave a token", name)
		}
	}
	t.Setenv(execInfo, `{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"interactive":true,"cluster":{"server":"`+h.URL+`"}}}`)
	if out, err := p.run("get-token", "--login=0123456789abcdef"); err == nil || out != "" {
		t.Error("a login that nobody agreed to got a token")
	}
}

// Tokens are renewed when they end, once however many ask, and a login that has
// ended is said to have.
func TestRenewal(t *testing.T) {
	i, logins := newIssuer(t)
	h := newHost(t)
	p := newPerson(t, i)
	h.tell("root:one", clientOf(i))
	logins.SetLifetime(5 * time.Second) // is renewed 10 s before its end: at once
	check(t, p.login(h, "root:one", "yes\n"))
	logins.SetLifetime(time.Hour)
	var tokens sync.Map
	c := p.config()
	args := c.AuthInfos[c.Contexts[c.CurrentContext].AuthInfo].Exec.Args
	first, err := p.getToken(false, nil)
	check(t, err)
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			var out strings.Builder
			if err := run(t.Context(), args, strings.NewReader(""), &out, &strings.Builder{}); err != nil {
				t.Error(err)
			}
			tokens.Store(out.String(), true)
		})
	}
	asking.Wait()
	n := 0
	tokens.Range(func(any, any) bool { n++; return true })
	if n != 1 || first == "" {
		t.Errorf("8 who asked got %d answers, want one", n)
	}
	if diff := cmp.Diff(map[string]int{"authorization_code": 1, "refresh_token": 1}, logins.Grants()); diff != "" {
		t.Errorf("grants: %s", diff)
	}

	expire(t, p)
	i.SetDown(true)
	if _, err := p.getToken(false, nil); err == nil {
		t.Error("a token without an issuer")
	}
	p.wantSaid("could not", i.URL())
	i.SetDown(false)
	_, err = p.getToken(false, nil) // the login has survived that
	check(t, err)

	expire(t, p)
	i.Rotate()
	_, err = p.getToken(false, nil)
	check(t, err)

	expire(t, p)
	logins.Revoke()
	if _, err := p.getToken(false, nil); err == nil {
		t.Error("a token, though the refresh token has ended")
	}
	p.wantSaid("log in again", "invalid_grant", i.URL())
	before := logins.Grants()["authorization_code"]
	if _, err := p.getToken(true, nil); err != nil {
		t.Errorf("at a terminal: %v", err)
	}
	if logins.Grants()["authorization_code"] != before+1 {
		t.Error("at a terminal, nobody was asked to log in")
	}
}

// expire ends the ID tokens that are kept.
func expire(t *testing.T, p *person) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.home, "logins", "tokens", "*.json"))
	check(t, err)
	if len(files) != 1 {
		t.Fatalf("the tokens are in %q", files)
	}
	text, err := os.ReadFile(files[0])
	check(t, err)
	before, _, ok := strings.Cut(string(text), `"expiry":`)
	if !ok {
		t.Fatalf("no expiry in %s", text)
	}
	check(t, os.WriteFile(files[0], []byte(before+`"expiry":"2020-01-01T00:00:00Z"}`), 0o600))
}

// With a clock that is two minutes wrong, people log in, and tokens end when they
// end for the issuer.
func TestClockSkew(t *testing.T) {
	for _, ahead := range []time.Duration{2 * time.Minute, -2 * time.Minute} {
		t.Run(ahead.String(), func(t *testing.T) {
			i, logins := newIssuer(t)
			h := newHost(t)
			p := newPerson(t, i)
			h.tell("root:one", clientOf(i))
			logins.SetClock(ahead)
			logins.SetLifetime(time.Minute)
			check(t, p.login(h, "root:one", "yes\n"))
			first, err := p.getToken(false, nil)
			check(t, err)
			again, err := p.getToken(false, nil)
			check(t, err)
			if first != again {
				t.Error("a token that is good for a minute was renewed at once")
			}
			expire(t, p)
			logins.SetLifetime(5 * time.Second)
			second, err := p.getToken(false, nil)
			check(t, err)
			third, err := p.getToken(false, nil)
			check(t, err)
			if second == third {
				t.Error("a token that ends in five seconds was not renewed")
			}
		})
	}
}

func TestAlgorithms(t *testing.T) {
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.PS256} {
		t.Run(string(alg), func(t *testing.T) {
			i, logins := newIssuer(t)
			h := newHost(t)
			p := newPerson(t, i)
			h.tell("root:one", clientOf(i))
			logins.SetAlgorithm(alg)
			check(t, p.login(h, "root:one", "yes\n"))
			expire(t, p)
			_, err := p.getToken(false, nil)
			check(t, err)
		})
	}
}

// An ID token of another login, for another client or of another issuer is no login.
func TestRefusesWrongTokens(t *testing.T) {
	for name, edit := range map[string]func(issuertest.Claims){
		"another nonce":    func(c issuertest.Claims) { c["nonce"] = "x" },
		"no nonce":         func(c issuertest.Claims) { delete(c, "nonce") },
		"another audience": func(c issuertest.Claims) { c["aud"] = "other" },
		"another issuer":   func(c issuertest.Claims) { c["iss"] = "https://other.example" },
		"over":             func(c issuertest.Claims) { c["exp"] = time.Now().Add(-time.Minute).Unix() },
	} {
		t.Run(name, func(t *testing.T) {
			i, logins := newIssuer(t)
			h := newHost(t)
			p := newPerson(t, i)
			h.tell("root:one", clientOf(i))
			logins.Edit(edit)
			if err := p.login(h, "root:one", "yes\n"); err == nil {
				t.Error("it was taken")
			}
			p.wantSaid(i.URL())
			if len(h.seen()) > 0 {
				t.Error("it was sent")
			}
		})
	}
	i, logins := newIssuer(t)
	h := newHost(t)
	p := newPerson(t, i)
	h.tell("root:one", clientOf(i))
	check(t, p.login(h, "root:one", "yes\n"))
	expire(t, p)
	logins.Edit(func(c issuertest.Claims) { c["sub"] = "mallory" })
	if _, err := p.getToken(false, nil); err == nil {
		t.Error("a login was renewed for somebody else")
	}
	p.wantSaid("a different user")
}

func TestDevice(t *testing.T) {
	i, logins := newIssuer(t)
	h := newHost(t)
	p := newPerson(t, i)
	h.tell("root:one", clientOf(i))
	t.Setenv("BROWSER", "")
	done := make(chan error, 1)
	approve := newApprover(i)
	go func() {
		done <- run(t.Context(), []string{h.workspace("root:one"), "--certificate-authority=" + h.caFile}, strings.NewReader("yes\n"), &strings.Builder{}, approve)
	}()
	check(t, <-done)
	if logins.Grants()["urn:ietf:params:oauth:grant-type:device_code"] != 1 {
		t.Errorf("without a browser: %v", logins.Grants())
	}
	p.run("logout")
	for _, code := range []string{"access_denied", "expired_token"} {
		logins.Refuse(code)
		if err := p.login(h, "root:one", "", "--device"); err == nil {
			t.Errorf("%s: logged in", code)
		}
		p.wantSaid(i.URL(), code)
	}
}

// approver approves the device code in what is printed.
type approver struct {
	client *http.Client
	text   strings.Builder
	done   bool
}

func newApprover(i *issuertest.Issuer) *approver { return &approver{client: trusting(i)} }

func (a *approver) Write(b []byte) (int, error) {
	a.text.Write(b)
	for _, field := range strings.Fields(a.text.String()) {
		if strings.Contains(field, "/approve?code=") && !a.done {
			a.done = true
			res, err := a.client.Get(field)
			if err != nil {
				return 0, err
			}
			_ = res.Body.Close()
		}
	}
	return len(b), nil
}

func TestRefusalIsExplained(t *testing.T) {
	i, logins := newIssuer(t)
	h := newHost(t)
	p := newPerson(t, i)
	h.tell("root:one", clientOf(i))
	logins.Refuse("access_denied")
	if err := p.login(h, "root:one", "yes\n"); err == nil {
		t.Error("logged in")
	}
	p.wantSaid(i.URL(), "access_denied", "you, or a rule there, said no")
}

func TestChoice(t *testing.T) {
	i, _ := newIssuer(t)
	other, logins := newIssuer(t)
	h := newHost(t)
	p := newPerson(t, i, other)
	named := clientOf(other)
	named.Name = "Partners"
	h.tell("root:one", clientOf(i), named)
	for _, answer := range []string{"", "3\nyes\n", "x\nyes\n"} {
		if err := p.login(h, "root:one", answer); err == nil {
			t.Errorf("%q: logged in", answer)
		}
	}
	check(t, p.login(h, "root:one", "2\nyes\n"))
	p.wantSaid("1  "+i.URL(), "2  Partners, "+other.URL())
	if logins.Grants()["authorization_code"] != 1 {
		t.Error("logged in at the other one")
	}
	check(t, p.login(h, "root:one", "", "--issuer=Partners"))
	check(t, p.login(h, "root:one", "", "--issuer="+other.URL()))
	if err := p.login(h, "root:one", "", "--issuer=nobody"); err == nil {
		t.Error("--issuer=nobody: logged in")
	}
}

func TestPrintAndKubelogin(t *testing.T) {
	i, _ := newIssuer(t)
	h := newHost(t)
	p := newPerson(t, i)
	h.tell("root:one", clientOf(i))
	p.answers = "yes\n"
	out, err := p.run(h.workspace("root:one")+"/api/v1/namespaces", "--certificate-authority="+h.caFile, "--exec=kubelogin", "--print")
	check(t, err)
	for _, part := range []string{"client.authentication.k8s.io/v1beta1", "--oidc-issuer-url=" + i.URL(), "--oidc-client-id=kubectl", "--oidc-extra-scope=email", "--oidc-use-pkce", "--certificate-authority-data=", "server: " + h.workspace("root:one")} {
		if !strings.Contains(out, part) {
			t.Errorf("no %q in:\n%s", part, out)
		}
	}
	if _, err := os.Stat(p.kubeconfig); err == nil || i.Discoveries() > 0 {
		t.Error("--print with kubelogin wrote a kubeconfig, or asked the issuer")
	}
	if err := p.login(h, "root:one", "yes\n", "--exec=other"); err == nil {
		t.Error("--exec=other was taken")
	}
}

func TestWhoamiAndLogout(t *testing.T) {
	i, logins := newIssuer(t)
	h := newHost(t)
	p := newPerson(t, i)
	h.tell("root:one", clientOf(i))
	check(t, p.login(h, "root:one", "yes\n"))
	out, err := p.run("whoami")
	check(t, err)
	for _, part := range []string{"oidc:alice", "dev, system:authenticated", h.workspace("root:one"), i.URL()} {
		if !strings.Contains(out, part) {
			t.Errorf("no %q in:\n%s", part, out)
		}
	}
	h.with(func() { h.code = http.StatusUnauthorized })
	if _, err := p.run("whoami"); err == nil {
		t.Error("a 401 is no error")
	}
	p.wantSaid("front-proxy explain pod-1-17", "/debug/explain/pod-1-17")
	h.with(func() { h.code = http.StatusForbidden })
	if _, err := p.run("whoami"); err == nil {
		t.Error("a 403 is no error")
	}
	p.wantSaid("you are logged in", "selfsubjectreviews")
	h.with(func() { h.code = http.StatusInternalServerError })
	if _, err := p.run("whoami"); err == nil {
		t.Error("a 500 is no error")
	}
	h.with(func() { h.code = 0 })

	_, err = p.run("logout")
	check(t, err)
	if _, err := p.getToken(false, nil); err == nil {
		t.Error("a token after logout")
	}
	check(t, p.login(h, "root:one", "")) // still agreed to
	_, err = p.run("logout", "--forget")
	check(t, err)
	if err := p.login(h, "root:one", ""); err == nil {
		t.Error("nothing was asked after logout --forget")
	}
	if logins.Grants()["authorization_code"] != 2 {
		t.Errorf("grants: %v", logins.Grants())
	}
}

// The URL of a server alone leads to the operator's issuers.
func TestLoginAtServer(t *testing.T) {
	i, _ := newIssuer(t)
	h := newHost(t)
	p := newPerson(t, i)
	if _, err := p.run(h.URL, "--certificate-authority="+h.caFile); err == nil {
		t.Error("logged in where nothing is published")
	}
	p.wantSaid("give the URL of a workspace")
	h.with(func() { h.clients[""] = []protectedresource.Client{clientOf(i)} })
	p.answers = "yes\n"
	_, err := p.run(h.URL+"/", "--certificate-authority="+h.caFile, "--listen-address=127.0.0.1:0")
	check(t, err)
	p.wantSaid("You are logged in at " + i.URL())
	if p.cluster().Server != h.URL || len(h.seen()) > 0 {
		t.Errorf("the kubeconfig leads to %s; the server was sent %d tokens", p.cluster().Server, len(h.seen()))
	}
	_, err = p.getToken(false, nil)
	check(t, err)
	if _, err := p.run("whoami"); err == nil {
		t.Error("nobody can say who that is")
	}
	p.wantSaid("contains no workspace")
}

// A token that is kept and no longer good at the server is replaced when its owner
// logs in again; one that is new and refused is not asked for twice.
func TestRefusedTokens(t *testing.T) {
	i, logins := newIssuer(t)
	h := newHost(t)
	p := newPerson(t, i)
	h.tell("root:one", clientOf(i))
	check(t, p.login(h, "root:one", "yes\n"))
	h.with(func() { h.refuse = h.tokens[len(h.tokens)-1] })
	check(t, p.login(h, "root:one", ""))
	if logins.Grants()["refresh_token"] != 1 {
		t.Errorf("grants: %v", logins.Grants())
	}
	_, err := p.run("logout")
	check(t, err)
	h.with(func() { h.code = http.StatusUnauthorized })
	if err := p.login(h, "root:one", ""); err == nil {
		t.Error("logged in, though the server refuses")
	}
	p.wantSaid("pod-1-17")
	if logins.Grants()["authorization_code"] != 2 {
		t.Errorf("grants: %v", logins.Grants())
	}
}

// The server is verified, and its certificate never believed blindly.
func TestServingCA(t *testing.T) {
	i, _ := newIssuer(t)
	h := newHost(t)
	p := newPerson(t, i)
	h.tell("root:one", clientOf(i))
	p.answers = "yes\n"
	if _, err := p.run(h.workspace("root:one")); err == nil {
		t.Error("an unknown CA was believed")
	}
	p.wantSaid("pass it as --certificate-authority")
	other := filepath.Join(t.TempDir(), "ca.crt")
	check(t, os.WriteFile(other, []byte(i.CAPEM()), 0o600))
	if _, err := p.run(h.workspace("root:one"), "--certificate-authority="+other); err == nil {
		t.Error("a CA that did not sign was believed")
	}
	p.wantSaid("no CA in --certificate-authority has signed")
	if _, err := p.run("whoami"); err == nil || !strings.Contains(err.Error(), "no current context: log in") {
		t.Errorf("without a kubeconfig: %v", err)
	}
	for _, url := range []string{"http://127.0.0.1/clusters/root:one", "https://a:b@127.0.0.1/clusters/root:one", "https://127.0.0.1/api", "https://127.0.0.1/clusters/", "kcp.example.com"} {
		if _, err := p.run(url); err == nil {
			t.Errorf("%s was taken", url)
		}
	}
}

// Files that others may write are not believed.
func TestForeignFiles(t *testing.T) {
	i, _ := newIssuer(t)
	h := newHost(t)
	p := newPerson(t, i)
	h.tell("root:one", clientOf(i))
	check(t, p.login(h, "root:one", "yes\n"))
	file := filepath.Join(p.home, "logins", "trust.json")
	check(t, os.Chmod(file, 0o666))
	if _, err := p.getToken(true, nil); err == nil {
		t.Error("a file that anybody may write was believed")
	}
	check(t, os.Chmod(file, 0o600))
	text, err := os.ReadFile(file)
	check(t, err)
	check(t, os.WriteFile(file, []byte(strings.Replace(string(text), h.URL, "https://evil.example", 1)), 0o600))
	if _, err := p.getToken(true, nil); err == nil {
		t.Error("an agreement that was changed by hand was believed")
	}
}
