package main

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"frontproxy/authn/webhook"
	"frontproxy/e2e/harness"
	"frontproxy/internal/kubeconfig"
)

// TestKubeconfigsAsKube: what client-go takes for a usable kubeconfig is taken
// here, and requests go out with the same credentials; the rest is refused. The
// exceptions are in docs/compatibility.md.
func TestKubeconfigsAsKube(t *testing.T) {
	dir := t.TempDir()
	servers, err := harness.NewCA(dir, "servers")
	if err != nil {
		t.Fatal(err)
	}
	clients, err := harness.NewCA(dir, "clients")
	if err != nil {
		t.Fatal(err)
	}
	serving, err := servers.Serving(dir, "server")
	if err != nil {
		t.Fatal(err)
	}
	alice, err := clients.Client(dir, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clients.Client(dir, "bob"); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(serving.Cert, serving.Key)
	if err != nil {
		t.Fatal(err)
	}
	// It says who asks.
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := ""
		if len(r.TLS.PeerCertificates) > 0 {
			name = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		_, _ = fmt.Fprintf(w, "%s, %q, as %q, at %s", name, r.Header.Values("Authorization"), r.Header.Values("Impersonate-User"), r.URL.Path)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("token", " from-a-file\n")
	write("empty", "")
	write("rubbish", "rubbish")

	b64 := func(text []byte) string { return base64.StdEncoding.EncodeToString(text) }
	ca := "certificate-authority: servers.crt"
	whole := func(cluster, user string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nclusters: [{name: a, cluster: {%s}}]\nusers: [{name: a, user: {%s}}]\n", cluster, user)
	}
	at := func(more string) string { return "server: '" + server.URL + "', " + more }
	for _, tt := range []struct {
		name, text string
		ours       string // part of our error where client-go takes it; empty: as client-go
	}{
		{"token", whole(at(ca), "token: abc"), ""},
		{"token with white space", whole(at(ca), "token: ' abc '"), ""},
		{"token in a file", whole(at(ca), "tokenFile: token"), ""},
		{"token, and a file with another", whole(at(ca), "token: abc, tokenFile: token"), ""},
		{"token in a file that is not there", whole(at(ca), "tokenFile: gone"), ""},
		{"token in an empty file", whole(at(ca), "tokenFile: empty"), ""},
		{"token, and a file that is not there", whole(at(ca), "token: abc, tokenFile: gone"), "gone: no such file"},
		{"token, and an empty file", whole(at(ca), "token: abc, tokenFile: empty"), "empty\" is empty"},
		{"certificate", whole(at(ca), "client-certificate: alice.crt, client-key: alice.key"), ""},
		{"certificate in place", whole(at(ca), "client-certificate-data: "+b64(alice.Cert)+", client-key-data: "+b64(alice.Key)), ""},
		{"certificate in place and in files", whole(at(ca), "client-certificate: bob.crt, client-key: bob.key, client-certificate-data: "+b64(alice.Cert)+", client-key-data: "+b64(alice.Key)), ""},
		{"certificate in place, files are not there", whole(at(ca), "client-certificate: gone, client-key: gone, client-certificate-data: "+b64(alice.Cert)+", client-key-data: "+b64(alice.Key)), ""},
		{"certificate and token", whole(at(ca), "token: abc, client-certificate: alice.crt, client-key: alice.key"), ""},
		{"certificate without a key", whole(at(ca), "client-certificate: alice.crt"), ""},
		{"key without a certificate", whole(at(ca), "client-key: alice.key"), ""},
		{"another's key", whole(at(ca), "client-certificate: alice.crt, client-key: bob.key"), "private key does not match"},
		{"certificate that is rubbish", whole(at(ca), "client-certificate: rubbish, client-key: alice.key"), "failed to find any PEM data"},
		{"certificate that is empty", whole(at(ca), "client-certificate: empty, client-key: empty"), "empty\" is empty"},
		{"certificate that is no base64", whole(at(ca), "client-certificate-data: '%', client-key-data: '%'"), ""},
		{"user and password", whole(at(ca), "username: u, password: p"), ""},
		{"user, password and token", whole(at(ca), "username: u, password: p, token: abc"), ""},
		{"impersonation", whole(at(ca), "token: abc, as: carol, as-groups: [x]"), ""},
		{"impersonation of groups alone", whole(at(ca), "token: abc, as-groups: [x]"), ""},
		{"program without a version", whole(at(ca), "exec: {command: 'true'}"), ""},
		{"program without interactiveMode", whole(at(ca), "exec: {apiVersion: client.authentication.k8s.io/v1, command: 'true'}"), ""},
		{"program and a token", whole(at(ca), "token: abc, exec: {apiVersion: client.authentication.k8s.io/v1, command: 'true', interactiveMode: Never}"), ""},
		{"program of an old version", whole(at(ca), "exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: 'true', interactiveMode: Never}"), ""},
		{"auth provider", whole(at(ca), "auth-provider: {name: oidc, config: {client-id: x}}"), ""},
		{"auth provider that is gone", whole(at(ca), "auth-provider: {name: gcp}"), ""},
		{"nobody", whole(at(ca), ""), ""},
		{"CA in place", whole(at("certificate-authority-data: "+b64(servers.PEM)), "token: abc"), ""},
		{"CA in place among other text", whole(at("certificate-authority-data: "+b64([]byte("text\n"+string(servers.PEM)+"text"))), "token: abc"), ""},
		{"CA in place and in a file", whole(at("certificate-authority: clients.crt, certificate-authority-data: "+b64(servers.PEM)), "token: abc"), ""},
		{"CA that is not there", whole(at("certificate-authority: gone"), "token: abc"), ""},
		{"CA that is rubbish", whole(at("certificate-authority: rubbish"), "token: abc"), ""},
		{"CA that is empty", whole(at("certificate-authority: empty"), "token: abc"), "empty\" is empty"},
		{"CA of somebody else", whole(at("certificate-authority: clients.crt"), "token: abc"), ""},
		{"no CA", whole(at(""), "token: abc"), ""},
		{"unverified", whole(at("insecure-skip-tls-verify: true"), "token: abc"), ""},
		{"unverified, with a CA", whole(at("insecure-skip-tls-verify: true, "+ca), "token: abc"), ""},
		{"server name", whole(at("tls-server-name: localhost, "+ca), "token: abc"), ""},
		{"another server name", whole(at("tls-server-name: elsewhere, "+ca), "token: abc"), ""},
		{"proxy", whole(at("proxy-url: 'http://127.0.0.1:1', "+ca), "token: abc"), ""},
		{"proxy of no known kind", whole(at("proxy-url: 'ftp://127.0.0.1:1', "+ca), "token: abc"), ""},
		{"proxy that is no URL", whole(at("proxy-url: ':', "+ca), "token: abc"), ""},
		{"no compression", whole(at("disable-compression: true, "+ca), "token: abc"), ""},
		{"server with a path", whole("server: '"+server.URL+"/clusters/root/', "+ca, "token: abc"), ""},
		{"server without a scheme", whole("server: '"+strings.TrimPrefix(server.URL, "https://")+"', "+ca, "token: abc"), ""},
		{"server with http", whole("server: 'http://127.0.0.1:1', "+ca, "token: abc"), ""},
		{"server that is no URL", whole("server: 'https://[', "+ca, "token: abc"), ""},
		{"no server", whole(ca, "token: abc"), ""},
		{"a key that nobody knows", whole(at(ca+", colour: red"), "token: abc"), ""},
		{"a key twice", whole(at(ca+", "+ca), "token: abc"), ""},
		{"a key in other case", whole(at("Certificate-Authority: servers.crt"), "token: abc"), ""},
		{"a merge key", whole(at("<<: {"+ca+"}"), "token: abc"), ""},
		{"a number for a text", whole(at(ca), "token: 1"), ""},
		{"JSON", `{"kind":"Config","current-context":"a","contexts":[{"name":"a","context":{"cluster":"a","user":"a"}}],"clusters":[{"name":"a","cluster":{"server":"` + server.URL + `","certificate-authority":"servers.crt"}}],"users":[{"name":"a","user":{"token":"abc"}}]}`, ""},
		{"no kind", strings.Replace(whole(at(ca), "token: abc"), "apiVersion: v1\nkind: Config\n", "", 1), ""},
		{"another kind", strings.Replace(whole(at(ca), "token: abc"), "kind: Config", "kind: Secret", 1), ""},
		{"another version", strings.Replace(whole(at(ca), "token: abc"), "apiVersion: v1", "apiVersion: v2", 1), ""},
		{"no current context", strings.Replace(whole(at(ca), "token: abc"), "current-context: a\n", "", 1), ""},
		{"a context that is not there", strings.Replace(whole(at(ca), "token: abc"), "current-context: a", "current-context: b", 1), ""},
		{"a cluster that is not there", strings.Replace(whole(at(ca), "token: abc"), "cluster: a,", "cluster: b,", 1), ""},
		{"a user that is not there", strings.Replace(whole(at(ca), "token: abc"), "user: a}", "user: b}", 1), ""},
		{"two of a name", strings.Replace(whole(at(ca), "token: abc"), "users: [", "users: [{name: a, user: {token: first}}, ", 1), ""},
		{"a byte order mark", "\ufeff" + whole(at(ca), "token: abc"), ""},
		{"two documents", whole(at(ca), "token: abc") + "---\n" + whole(at(ca), "token: def"), ""},
		{"no YAML", "]", ""},
		{"empty", "", "kubeconfig\" is empty"}, // --shards-kubeconfig: client-go has no credentials then
		{"nothing in it", "{}", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, "kubeconfig")
			write("kubeconfig", tt.text)
			differ := false
			// agree compares client-go's error and ours.
			agree := func(what string, theirs, err error) {
				t.Helper()
				switch {
				case (theirs == nil) == (err == nil):
				case tt.ours == "" || err == nil || !strings.Contains(err.Error(), tt.ours):
					t.Errorf("%s: client-go: %v; ours: %v, want %q", what, theirs, err, tt.ours)
				default:
					differ = true
				}
			}

			theirs, refused := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rootRules(path), nil).ClientConfig()
			if refused == nil {
				_, refused = rest.TransportFor(theirs)
			}
			ours, err := kubeconfig.NewDynamicConfig("root-kubeconfig", rootRules(path).GetLoadingPrecedence(), func() (*rest.Config, error) { return rootConfig(path) }, nil, klog.Logger{})
			agree("--root-kubeconfig", refused, err)
			if refused == nil && err == nil {
				if want, got := whoAsks(theirs), whoAsks(ours.Config()); want != got {
					t.Errorf("client-go: %s; ours: %s", want, got)
				}
			}

			// The server of a kubeconfig for every shard does not matter.
			every, refused := everyShardConfig("shards-kubeconfig", path)
			if refused == nil {
				_, refused = rest.TransportFor(every)
			}
			_, err = kubeconfig.NewDynamicConfig("shards-kubeconfig", []string{path}, func() (*rest.Config, error) { return everyShardConfig("shards-kubeconfig", path) }, nil, klog.Logger{})
			agree("--shards-kubeconfig", refused, err)

			theirs, refused = webhookutil.LoadKubeconfig(path, nil)
			if refused == nil {
				_, refused = rest.TransportFor(theirs)
			}
			if refused == nil {
				_, _, refused = rest.DefaultServerUrlFor(theirs)
			}
			_, err = webhook.New(webhook.Config{ConfigFile: path})
			agree("the webhook's", refused, err)
			if differ != (tt.ours != "") {
				t.Error("nothing differs from client-go any more: say so here and in docs/compatibility.md")
			}
		})
	}
}

// whoAsks is what the server says, or that there is no answer.
func whoAsks(c *rest.Config) string {
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		return "no client"
	}
	defer client.CloseIdleConnections()
	resp, err := client.Get(c.Host + "/x")
	if err != nil {
		return "no answer"
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "no answer"
	}
	return string(text)
}
