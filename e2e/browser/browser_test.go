//go:build browser

// A person's way through a login with a real browser and an issuer that nobody here
// wrote: `make test-browser`. It needs Debian's chromium, node and npm, and the
// network once, for npm's oidc-provider. Pictures of each page are kept in
// bin/browser-pictures.
package browser

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"frontproxy/e2e/harness"
)

const user = "alice"

var root = must(filepath.Abs("../.."))

// world is an issuer, a server that tells of it, a browser and a person.
type world struct {
	t        *testing.T
	issuer   string
	host     *httptest.Server
	caFile   string
	browser  *chromium
	pictures int
	name     string

	mu     sync.Mutex // guards tokens
	tokens []string
}

func newWorld(t *testing.T, algorithm string) *world {
	t.Helper()
	w := &world{t: t, name: strings.ReplaceAll(t.Name(), "/", "-")}
	dir := t.TempDir()
	ca, err := harness.NewCA(dir, "ca")
	check(t, err)
	w.caFile = ca.File
	serving, err := ca.Serving(dir, "issuer")
	check(t, err)
	port, err := harness.FreePort()
	check(t, err)
	w.issuer = fmt.Sprintf("https://127.0.0.1:%d", port)
	node := exec.Command("node", filepath.Join(root, "bin", "browser-provider", "server.mjs"))
	node.Env = append(os.Environ(), "ISSUER="+w.issuer, fmt.Sprintf("PORT=%d", port), "CERT="+serving.CertFile, "KEY="+serving.KeyFile, "ALGORITHM="+algorithm)
	var said bytes.Buffer
	node.Stdout, node.Stderr = &said, &said
	check(t, node.Start())
	t.Cleanup(func() {
		_ = node.Process.Kill()
		_ = node.Wait()
		if t.Failed() {
			t.Logf("the issuer said:\n%s", said.String())
		}
	})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.PEM)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
	check(t, harness.Eventually(t.Context(), time.Minute, "the issuer to answer", func(context.Context) error {
		res, err := client.Get(w.issuer + "/.well-known/openid-configuration")
		if err != nil {
			return err
		}
		return res.Body.Close()
	}))
	pair, err := tls.LoadX509KeyPair(serving.CertFile, serving.KeyFile)
	check(t, err)
	w.host = httptest.NewUnstartedServer(w)
	w.host.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	w.host.StartTLS()
	t.Cleanup(w.host.Close)
	w.browser = startChromium(t)
	return w
}

// ServeHTTP tells where to log in, and who a token is of.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	ca, err := os.ReadFile(w.caFile)
	if err != nil {
		panic(err)
	}
	rw.Header().Set("Content-Type", "application/json")
	if strings.HasPrefix(r.URL.Path, "/.well-known/") {
		_ = json.NewEncoder(rw).Encode(map[string]any{
			"resource": w.host.URL + "/clusters/root:one", "authorization_servers": []string{w.issuer},
			"id_token_clients": []any{map[string]any{"issuer": w.issuer, "client_id": "kubectl", "scopes": []string{"openid", "offline_access"}, "certificate_authority": string(ca)}},
		})
		return
	}
	w.mu.Lock()
	w.tokens = append(w.tokens, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	w.mu.Unlock()
	rw.WriteHeader(http.StatusCreated)
	_, _ = fmt.Fprintf(rw, `{"status":{"userInfo":{"username":%q}}}`, user)
}

// login runs the command until it names a page; done is how it ended.
func (w *world) login(page *regexp.Regexp, args ...string) (url string, done <-chan error) {
	w.t.Helper()
	home := w.t.TempDir()
	cmd := exec.CommandContext(w.t.Context(), filepath.Join(root, "bin", "kubectl-kcp_login"), append(args, w.host.URL+"/clusters/root:one", "--certificate-authority="+w.caFile)...)
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
	cmd.Stdin = strings.NewReader("yes\n")
	out, err := cmd.StderrPipe()
	check(w.t, err)
	check(w.t, cmd.Start())
	text := ""
	for buffer := make([]byte, 4096); url == ""; {
		n, err := out.Read(buffer)
		text += string(buffer[:n])
		if err != nil {
			w.t.Fatalf("%v\n%s", err, text)
		}
		url = page.FindString(text)
	}
	ended := make(chan error, 1)
	go func() {
		var rest bytes.Buffer
		_, _ = rest.ReadFrom(out)
		if err := cmd.Wait(); err != nil {
			ended <- fmt.Errorf("%w\n%s%s", err, text, rest.String())
			return
		}
		ended <- nil
	}()
	return url, ended
}

func (w *world) picture(what string) {
	w.t.Helper()
	dir := filepath.Join(root, "bin", "browser-pictures")
	check(w.t, os.MkdirAll(dir, 0o700))
	w.pictures++
	w.browser.picture(filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", w.name, w.pictures, what)))
}

// signIn fills the issuer's form and agrees.
func (w *world) signIn() {
	w.t.Helper()
	w.browser.await("the form", `document.querySelector("input[name=login]")`)
	w.browser.write("input[name=login]", user)
	w.browser.write("input[name=password]", "any")
	w.picture("login")
	w.browser.click("button[type=submit]")
	w.browser.await("the question whether to agree", `!document.querySelector("input[name=login]") && document.querySelector("button[type=submit]")`)
	w.picture("consent")
	w.browser.click("button[type=submit]")
}

// algorithm is that of the token that came to the server last.
func (w *world) algorithm() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.tokens) == 0 {
		return "nothing came"
	}
	head, _, _ := strings.Cut(w.tokens[len(w.tokens)-1], ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	check(w.t, err)
	var header struct {
		Algorithm string `json:"alg"`
	}
	check(w.t, json.Unmarshal(text, &header))
	return header.Algorithm
}

func TestLoginPage(t *testing.T) {
	for _, algorithm := range []string{"ES256", "PS256"} {
		t.Run(algorithm, func(t *testing.T) {
			w := newWorld(t, algorithm)
			page, done := w.login(regexp.MustCompile(`https://\S+/auth\?\S+`), "--no-browser", "--listen-address=127.0.0.1:0")
			w.browser.open(page)
			w.signIn()
			w.browser.await("the last page", `document.body && document.body.innerText.includes("Go back to your terminal")`)
			w.picture("done")
			check(t, <-done)
			if got := w.algorithm(); got != algorithm {
				t.Errorf("the token is signed with %s, want %s", got, algorithm)
			}
		})
	}
}

// The person says no at the issuer.
func TestRefusalPage(t *testing.T) {
	w := newWorld(t, "ES256")
	page, done := w.login(regexp.MustCompile(`https://\S+/auth\?\S+`), "--no-browser", "--listen-address=127.0.0.1:0")
	w.browser.open(page)
	w.browser.await("the form", `document.querySelector("input[name=login]")`)
	w.browser.click(`a[href$="/abort"]`)
	w.browser.await("the last page", `document.body && document.body.innerText.includes("You are not logged in")`)
	w.picture("refused")
	if err := <-done; err == nil || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("it ended with %v", err)
	}
}

func TestDevicePage(t *testing.T) {
	w := newWorld(t, "ES256")
	page, done := w.login(regexp.MustCompile(`https://\S+/device\S+`), "--device")
	w.browser.open(page)
	w.browser.await("the code", `document.querySelector("button[type=submit]")`)
	w.picture("code")
	w.browser.click("button[type=submit]")
	w.signIn()
	w.browser.await("the last page", `document.body && /success/i.test(document.body.innerText)`)
	w.picture("done")
	check(t, <-done)
	if got := w.algorithm(); got != "ES256" {
		t.Errorf("the token is signed with %s", got)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
