package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	clientauthentication "k8s.io/client-go/pkg/apis/clientauthentication/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/internal/protectedresource"
)

// browserVariable makes the test binary a browser that opens one page.
const browserVariable = "TEST_BROWSER_CA"

func TestMain(m *testing.M) {
	if ca := os.Getenv(browserVariable); ca != "" && len(os.Args) == 2 && strings.HasPrefix(os.Args[1], "https://") {
		browse(ca, os.Args[1])
		return
	}
	os.Exit(m.Run())
}

func browse(ca, page string) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca))
	res, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}).Get(page)
	if err != nil {
		os.Stderr.WriteString("browser: " + err.Error() + "\n")
		return
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
}

// host is a server that tells where to log in, and takes tokens.
type host struct {
	*httptest.Server
	caFile string

	mu      sync.Mutex // guards what follows
	clients map[string][]protectedresource.Client
	edit    func(*protectedresource.Metadata)
	code    int    // of reviews; 0: 201
	busy    int    // how many reviews are answered 503
	refuse  string // a token that is answered 401
	tokens  []string
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{clients: map[string][]protectedresource.Client{}}
	h.Server = httptest.NewUnstartedServer(h)
	ca, err := issuertest.NewCA()
	check(t, err)
	h.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Serving()}}
	h.Config.ErrorLog = nil
	h.StartTLS()
	t.Cleanup(h.Close)
	h.caFile = filepath.Join(t.TempDir(), "host-ca.crt")
	check(t, os.WriteFile(h.caFile, []byte(ca.PEM()), 0o600))
	return h
}

func (h *host) workspace(name string) string { return h.URL + "/clusters/" + name }

// tell has the server name clients for a workspace.
func (h *host) tell(workspace string, clients ...protectedresource.Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients["/clusters/"+workspace] = clients
}

func (h *host) with(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// seen are the tokens that came.
func (h *host) seen() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tokens
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if path, ok := strings.CutPrefix(r.URL.Path, protectedresource.WellKnownPath); ok {
		clients := h.clients[path]
		if clients == nil {
			http.NotFound(w, r)
			return
		}
		m := protectedresource.New(h.URL+path, "", clients)
		if h.edit != nil {
			h.edit(m)
		}
		_ = json.NewEncoder(w).Encode(m)
		return
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	h.tokens = append(h.tokens, token)
	switch {
	case h.busy > 0:
		h.busy--
		w.WriteHeader(http.StatusServiceUnavailable)
	case h.code == http.StatusUnauthorized || token == h.refuse && token != "":
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"kind":"Status","message":"Unauthorized","details":{"uid":"pod-1-17"}}`)
	case h.code != 0:
		w.WriteHeader(h.code)
		_, _ = io.WriteString(w, `{"kind":"Status","message":"no\u001b[2J"}`)
	default:
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"kind":"SelfSubjectReview","status":{"userInfo":{"username":"oidc:alice","groups":["dev","system:authenticated"]}}}`)
	}
}

// person is somebody at a terminal, with a home of their own.
type person struct {
	t          *testing.T
	home       string
	kubeconfig string
	answers    string // typed at the next command
	last       string // what the last command said
}

func newPerson(t *testing.T, issuers ...*issuertest.Issuer) *person {
	t.Helper()
	p := &person{t: t, home: t.TempDir()}
	p.kubeconfig = filepath.Join(p.home, "kubeconfig")
	var cas string
	for _, i := range issuers {
		cas += i.CAPEM()
	}
	self, err := os.Executable()
	check(t, err)
	t.Setenv("BROWSER", self)
	t.Setenv(browserVariable, cas)
	t.Setenv(homeVariable, filepath.Join(p.home, "logins"))
	t.Setenv("KUBECONFIG", p.kubeconfig)
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	return p
}

// run runs a command; said is what it printed for the person, and its error.
func (p *person) run(args ...string) (out string, err error) {
	p.t.Helper()
	var stdout, stderr bytes.Buffer
	err = run(p.t.Context(), args, strings.NewReader(p.answers), &stdout, &stderr)
	p.answers, p.last = "", stderr.String()
	if err != nil {
		p.last += err.Error()
	}
	if strings.Contains(p.last, "\x1b") {
		p.t.Errorf("a stranger's terminal codes are printed: %q", p.last)
	}
	return stdout.String(), err
}

// login logs in at a workspace; answers are what the person types.
func (p *person) login(h *host, workspace, answers string, more ...string) error {
	p.t.Helper()
	p.answers = answers
	_, err := p.run(append([]string{h.workspace(workspace), "--certificate-authority=" + h.caFile, "--listen-address=127.0.0.1:0"}, more...)...)
	return err
}

// config is the person's kubeconfig.
func (p *person) config() *clientcmdapi.Config {
	p.t.Helper()
	c, err := clientcmd.LoadFromFile(p.kubeconfig)
	check(p.t, err)
	return c
}

// cluster is the current context's, as kubectl tells it to the program.
func (p *person) cluster() clientauthentication.Cluster {
	c := p.config()
	cluster := c.Clusters[c.Contexts[c.CurrentContext].Cluster]
	return clientauthentication.Cluster{Server: cluster.Server, CertificateAuthorityData: cluster.CertificateAuthorityData}
}

// getToken asks as kubectl does with the current context, but for a cluster that
// edit may change.
func (p *person) getToken(interactive bool, edit func(*clientauthentication.Cluster)) (string, error) {
	p.t.Helper()
	c := p.config()
	cluster := p.cluster()
	if edit != nil {
		edit(&cluster)
	}
	asked := clientauthentication.ExecCredential{Spec: clientauthentication.ExecCredentialSpec{Interactive: interactive, Cluster: &cluster}}
	asked.SetGroupVersionKind(execCredential)
	info, err := json.Marshal(&asked)
	check(p.t, err)
	p.t.Setenv(execInfo, string(info))
	out, err := p.run(c.AuthInfos[c.Contexts[c.CurrentContext].AuthInfo].Exec.Args...)
	if err != nil {
		if out != "" {
			p.t.Errorf("an error, and yet it printed %q", out)
		}
		return "", err
	}
	var answer clientauthentication.ExecCredential
	check(p.t, json.Unmarshal([]byte(out), &answer))
	return answer.Status.Token, nil
}

// wantSaid wants parts of what the last command said.
func (p *person) wantSaid(parts ...string) {
	p.t.Helper()
	for _, part := range parts {
		if !strings.Contains(p.last, part) {
			p.t.Errorf("it did not say %q but:\n%s", part, p.last)
		}
	}
}

func newIssuer(t *testing.T) (*issuertest.Issuer, *issuerLogins) {
	t.Helper()
	i, err := issuertest.New(issuertest.Options{Algorithm: "ES256"})
	check(t, err)
	t.Cleanup(i.Close)
	return i, serveLogins(i, "kubectl", issuertest.Claims{"sub": "alice", "email": "alice@example.com"})
}

func clientOf(i *issuertest.Issuer) protectedresource.Client {
	return protectedresource.Client{Issuer: i.URL(), ClientID: "kubectl", Scopes: []string{"openid", "email"}, CertificateAuthority: i.CAPEM()}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
