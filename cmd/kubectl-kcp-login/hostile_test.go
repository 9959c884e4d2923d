package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"frontproxy/authn/issuer/issuertest"
)

func trusting(i *issuertest.Issuer) *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(i.CAPEM()))
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
}

// An issuer that was agreed to may still not lead off https, nor answer without end.
func TestHostileIssuer(t *testing.T) {
	for name, edit := range map[string]func(map[string]any){
		"a plain token endpoint":  func(d map[string]any) { d["token_endpoint"] = "http://127.0.0.1:1/token" },
		"a plain page":            func(d map[string]any) { d["authorization_endpoint"] = "http://127.0.0.1:1/authorize" },
		"a page that is a file":   func(d map[string]any) { d["authorization_endpoint"] = "file:///etc/passwd" },
		"a plain device endpoint": func(d map[string]any) { d["device_authorization_endpoint"] = "http://127.0.0.1:1/" },
		"another issuer":          func(d map[string]any) { d["issuer"] = "https://other.example" },
		"an answer without end":   func(d map[string]any) { d["filler"] = strings.Repeat("a", 2<<20) },
		"weak signatures":         func(d map[string]any) { d["id_token_signing_alg_values_supported"] = []string{"none", "HS256"} },
	} {
		t.Run(name, func(t *testing.T) {
			i, _ := newIssuer(t)
			i.EditDiscovery(edit)
			h := newHost(t)
			p := newPerson(t, i)
			h.tell("root:one", clientOf(i))
			if err := p.login(h, "root:one", "yes\n"); err == nil && name != "weak signatures" {
				t.Error("logged in")
			} else if err == nil { // go-oidc takes RS256 then, and the token is ES256
				t.Error("a token of an algorithm that the issuer does not name was taken")
			}
			if len(h.seen()) > 0 {
				t.Error("something was sent to the server")
			}
		})
	}
}

// A redirect of the server's is not followed: another place would tell for it.
func TestServerRedirects(t *testing.T) {
	i, _ := newIssuer(t)
	h, other := newHost(t), newHost(t)
	other.tell("root:one", clientOf(i))
	h.Config.Handler = http.RedirectHandler(other.URL+"/.well-known/oauth-protected-resource/clusters/root:one", http.StatusFound)
	p := newPerson(t, i)
	if err := p.login(h, "root:one", "yes\n"); err == nil {
		t.Error("logged in")
	}
	p.wantSaid("302")
}

// A server that cannot tell yet is asked again, a bounded number of times.
func TestServerThatCannotTellYet(t *testing.T) {
	h := newHost(t)
	ca, err := readCA(h.caFile)
	check(t, err)
	s, err := newServer(h.workspace("root:one"), ca)
	check(t, err)
	s.pause = 0
	for busy, good := range map[int]bool{undecidedTries - 1: true, undecidedTries: false} {
		h.with(func() { h.busy = busy })
		if _, err := s.review(t.Context(), "token"); (err == nil) != good {
			t.Errorf("after %d answers of 503: %v", busy, err)
		}
	}
}

var pageLine = regexp.MustCompile(`https://\S+/authorize\?\S+`)

// waitingLogin starts a login that waits for the browser to come back; page is what
// that is to open.
func waitingLogin(t *testing.T, h *host) (page string, done <-chan error) {
	t.Helper()
	t.Setenv("BROWSER", "")
	said, saying := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(t.Context(), []string{h.workspace("root:one"), "--certificate-authority=" + h.caFile, "--no-browser", "--listen-address=127.0.0.1:0"}, strings.NewReader("yes\n"), io.Discard, saying)
		_ = saying.Close()
		ended <- err
	}()
	text := ""
	for buffer := make([]byte, 4096); page == ""; {
		n, err := said.Read(buffer)
		check(t, err)
		text += string(buffer[:n])
		page = pageLine.FindString(text)
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	return page, ended
}

// lastPage opens a page as a browser does, and returns what it ends on.
func lastPage(t *testing.T, i *issuertest.Issuer, page string) (http.Header, string) {
	t.Helper()
	res, err := trusting(i).Get(page)
	check(t, err)
	body, err := io.ReadAll(res.Body)
	check(t, err)
	_ = res.Body.Close()
	return res.Header, string(body)
}

func TestLastPageOfARefusal(t *testing.T) {
	i, logins := newIssuer(t)
	h := newHost(t)
	newPerson(t, i)
	h.tell("root:one", clientOf(i))
	logins.Refuse("access_denied")
	page, done := waitingLogin(t, h)
	if _, body := lastPage(t, i, page); !strings.Contains(body, "You are not logged in") || strings.Contains(body, "as the test wants") {
		t.Errorf("the last page is %s", body)
	}
	if err := <-done; err == nil {
		t.Error("logged in")
	}
}

// Only the answer to the login that waits ends it: other pages and programs can
// neither read its state nor end it.
func TestCallbackTakesOnlyItsAnswer(t *testing.T) {
	i, _ := newIssuer(t)
	h := newHost(t)
	newPerson(t, i)
	h.tell("root:one", clientOf(i))
	page, done := waitingLogin(t, h)
	u, err := url.Parse(page)
	check(t, err)
	back := u.Query().Get("redirect_uri")
	state := u.Query().Get("state")
	plain := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, query := range []string{"", "?code=stolen", "?code=stolen&state=x", "?error=access_denied&state=x", "?error=access_denied", "/other?code=x&state=" + state} {
		res, err := plain.Get(back + "/" + strings.TrimPrefix(query, "/"))
		check(t, err)
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode < 400 || strings.Contains(string(body), state) {
			t.Errorf("%q: %s %s", query, res.Status, body)
		}
	}
	r, err := http.NewRequest(http.MethodGet, back+"/?code=x&state="+state, nil)
	check(t, err)
	r.Host = "evil.example" // a name that a page in a browser made mean this address
	res, err := plain.Do(r)
	check(t, err)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("another host: %s", res.Status)
	}
	header, body := lastPage(t, i, page)
	if !strings.Contains(body, "Go back to your terminal") || !strings.HasPrefix(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("the last page is %s\n%s", header, body)
	}
	check(t, <-done)
}
