package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"frontproxy/e2e/harness"
	"frontproxy/proxy/zpages"
)

// mountedHost is a server outside of kcp that believes identity headers of who
// has a certificate of its own CA.
type mountedHost struct {
	url     string
	serving *harness.CA
	clients *harness.CA
}

// arrival is what the host was told.
type arrival struct {
	Certificate, Path, Host string
	Header                  map[string][]string // but those of transport
}

func newMountedHost(t *testing.T, name string) *mountedHost {
	t.Helper()
	h := &mountedHost{}
	var err error
	if h.serving, err = harness.NewCA(t.TempDir(), name+"-serving"); err != nil {
		t.Fatal(err)
	}
	if h.clients, err = harness.NewCA(t.TempDir(), name+"-requestheader"); err != nil {
		t.Fatal(err)
	}
	pair, err := h.serving.Serving(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(h.clients.PEM)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := arrival{Path: r.RequestURI, Host: r.Host, Header: r.Header.Clone()}
		for _, c := range r.TLS.PeerCertificates {
			a.Certificate = c.Subject.CommonName
		}
		for _, key := range []string{"Accept-Encoding", "User-Agent", "X-Forwarded-For"} {
			delete(a.Header, key)
		}
		_ = json.NewEncoder(w).Encode(a)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS12}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

// entry is the host's in a mount hosts file, with a certificate for name if that
// is not empty.
func (h *mountedHost) entry(t *testing.T, path, name string) string {
	t.Helper()
	text := fmt.Sprintf("- url: %s%s\n  backend_server_ca: %s\n", h.url, path, h.serving.File)
	if name == "" {
		return text
	}
	pair, err := h.clients.Client(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	return text + fmt.Sprintf("  proxy_client_cert: %s\n  proxy_client_key: %s\n", pair.CertFile, pair.KeyFile)
}

func (p *runningProxy) arrives(c *http.Client, path string, header http.Header) (int, arrival) {
	p.t.Helper()
	r, err := http.NewRequest(http.MethodGet, p.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	resp, err := c.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var a arrival
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
			p.t.Fatal(err)
		}
	}
	return resp.StatusCode, a
}

// statuszCertificates are the roles and sources of the certificates on /statusz.
func statuszCertificates(t *testing.T, socket string) (all []string) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	r, err := http.NewRequest(http.MethodGet, "http://localhost/statusz", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/json")
	resp, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var page zpages.Statusz
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		t.Fatal(err)
	}
	for _, c := range page.Status.Certificates {
		all = append(all, c.Role+" "+c.Source)
	}
	return all
}

// writeFile replaces a file in one step.
func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestMountHosts: a host that the operator lists gets requests with the CA and
// the certificate of its entry, and learns who is calling, as far as that means
// anything there; every other host gets nothing of it.
func TestMountHosts(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	k := i.kcp
	listed, bare, other := newMountedHost(t, "listed"), newMountedHost(t, "bare"), newMountedHost(t, "other")
	for name, url := range map[string]string{
		"listed": listed.url + "/base/api", "outside": listed.url + "/elsewhere", "dots": listed.url + "/base/%2e%2e/elsewhere",
		"bare": bare.url, "other": other.url,
	} {
		k.Root.PutMount("root", name, url)
	}
	file := filepath.Join(t.TempDir(), "hosts.yaml")
	writeFile(t, file, listed.entry(t, "/base", "kcp-front-proxy")+bare.entry(t, "", ""))
	args, url := arguments(t, k)
	tokens := filepath.Join(t.TempDir(), "tokens.csv")
	writeFile(t, tokens, "alices-token,alice,u1,\"devs,system:nodes\"\nsystem-token,system:node:n1,,\n")
	socket := filepath.Join(t.TempDir(), "debug.sock")
	p := startProxy(t, k, url, append(args, "--mount-hosts-file="+file, "--debug-address=unix://"+socket, "--token-auth-file="+tokens, "--service-account-lookup=false",
		"--service-account-key-file="+i.accounts[0].CertFile, "--requestheader-client-ca-file="+k.RequestHeaderCA.File, "--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-"))
	client, shard := p.client(), i.client(p, "mounts")
	bearer := func(token string) http.Header {
		written.secret(token)
		return http.Header{"Authorization": {"Bearer " + token}}
	}
	hostPart := strings.TrimPrefix(listed.url, "https://")
	alice := arrival{Certificate: "kcp-front-proxy", Path: "/base/api/v1/pods?x=%2F", Host: hostPart, Header: map[string][]string{
		"X-Remote-User": {"alice"}, "X-Remote-Group": {"devs", "system:authenticated"}, "Cdn-Loop": {"front-proxy"}}}
	secrets := bearer("alices-token")
	for k, v := range map[string]string{"Cookie": "c=1", "X-Remote-User": "root", "X-Remote-Extra-A": "b"} {
		secrets[k] = []string{v}
	}
	for _, tt := range []struct {
		name, path string
		client     *http.Client
		header     http.Header
		code       int
		want       arrival
	}{
		{"somebody", "/clusters/root:listed/v1/pods?x=%2F", client, secrets, 200, alice},
		{"acting for somebody", "/clusters/root:listed/v1/pods?x=%2F", client, http.Header{"Authorization": secrets["Authorization"], "Impersonate-User": {"bob"}}, 200,
			arrival{Certificate: alice.Certificate, Path: alice.Path, Host: alice.Host, Header: map[string][]string{
				"X-Remote-User": {"alice"}, "X-Remote-Group": alice.Header["X-Remote-Group"], "Cdn-Loop": {"front-proxy"}, "Impersonate-User": {"bob"}}}},
		{"nobody", "/clusters/root:listed/v1/pods", client, nil, 401, arrival{}},
		{"a system user", "/clusters/root:listed/v1/pods", client, bearer("system-token"), 403, arrival{}},
		{"a service account", "/clusters/root:listed/v1/pods", client, bearer(boundToken(t, i.accounts[0], farTeam)), 403, arrival{}},
		{"an identity of one workspace", "/clusters/root:listed/v1/pods", shard, http.Header{"X-Remote-User": {"bob"}, "X-Remote-Extra-Authentication.kcp.io%2fscopes": {"cluster:x"}}, 403, arrival{}},
		{"without a certificate", "/clusters/root:bare/v1/pods", client, secrets, 200,
			arrival{Path: "/v1/pods", Host: strings.TrimPrefix(bare.url, "https://"), Header: map[string][]string{"Cdn-Loop": {"front-proxy"}}}},
		// Whose CA is nobody's here: not reached.
		{"not listed", "/clusters/root:other/v1/pods", client, secrets, 503, arrival{}},
		{"beside the listed path", "/clusters/root:outside/v1/pods", client, secrets, 503, arrival{}},
		{"out of the listed path", "/clusters/root:dots/v1/pods", client, secrets, 503, arrival{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &runningProxy{t: t, kcp: k, url: url}
			code, got := p.arrives(tt.client, tt.path, tt.header)
			if diff := cmp.Diff(tt.want, got); code != tt.code || diff != "" {
				t.Errorf("%d, want %d; the host got (-want +got):\n%s", code, tt.code, diff)
			}
		})
	}

	sources := statuszCertificates(t, socket)
	for _, want := range []string{"client mount-hosts-file " + listed.url + "/base", "backend-ca mount-hosts-file " + bare.url} {
		if !slices.Contains(sources, want) {
			t.Errorf("/statusz has no certificate %q: %q", want, sources)
		}
	}

	// The file is followed; what can't be used changes nothing.
	renamed := strings.Replace(listed.entry(t, "/base", "renewed"), "/base", "/elsewhere", 1) + listed.entry(t, "/base", "renewed")
	await := func(path, want string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			_, got := p.arrives(client, path, secrets)
			if got.Certificate == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s arrives with certificate %q after 20 s, want %q", path, got.Certificate, want)
			}
		}
	}
	writeFile(t, file, renamed)
	await("/clusters/root:outside/api", "renewed")
	await("/clusters/root:listed/api", "renewed")
	writeFile(t, file, "- url: http://plain\n")
	logged(t, `> logger="mount-hosts" flag="mount-hosts-file"`) // behind an error of several lines
	await("/clusters/root:listed/api", "renewed")
	writeFile(t, file, "[]")
	await("/clusters/root:listed/api", "")
}

// TestExternalURL: a mount below an address of this proxy leads to what the
// caller could reach here itself, and is not dialled.
func TestExternalURL(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	k.Root.PutWorkspace("root", "ws", "workspace0000001", "root", "universal", nil)
	k.Root.PutCluster("workspace0000001", "root:universal", nil)
	for name, url := range map[string]string{
		"first": "https://front.example/clusters/root:ws", "second": "https://other.example:6443/below/clusters/root:ws",
		"beside": "https://other.example:6443/clusters/root:ws", "none": "https://front.example/clusters/root:nowhere",
	} {
		k.Root.PutMount("root", name, url)
	}
	args, url := arguments(t, k)
	tokens := filepath.Join(t.TempDir(), "tokens.csv")
	writeFile(t, tokens, "alices-token,alice,u1,\n")
	p := startProxy(t, k, url, append(args, "--token-auth-file="+tokens, "--external-url=https://front.example:443", "--external-url=https://OTHER.example:6443/below/",
		"--workspace-egress-deny-cidrs=0.0.0.0/0,::/0"))
	for name, want := range map[string]int{"first": 200, "second": 200, "beside": 503, "none": 403} {
		code, me := p.ask(p.client(), "/clusters/root:"+name+"/api", "alices-token")
		if code != want || code == 200 && (me.User != "alice" || me.Path != "/clusters/workspace0000001/api") {
			t.Errorf("%s: %d %+v, want %d", name, code, me, want)
		}
	}
}
