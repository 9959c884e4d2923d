package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
)

// Static tokens, of this run's token file only.
const (
	stansToken  = "soak-token-of-stan"  //nolint:gosec // as above
	guestsToken = "soak-token-of-guest" //nolint:gosec // as above
)

// volume has the proxy's files and is swapped as the kubelet swaps Secrets.
type volume struct {
	dir     string
	env     *harness.Environment
	files   map[string][]byte
	otherCA []byte // of clients; not in the files at first
	mapping string // what the mapping file says when nothing is wrong
	made    int
}

func newVolume(s *soak) (*volume, error) {
	v := &volume{dir: filepath.Join(s.env.Dir, "volume"), env: s.env}
	serving, forwarding, err := v.pairs()
	if err != nil {
		return nil, err
	}
	v.mapping = v.entry("/clusters/", s.env.Shard(harness.RootShard).URL) + v.entry("/services/", s.env.Shard(harness.RootShard).URL)
	v.files = map[string][]byte{
		"mapping.yaml": []byte(v.mapping), "shards-ca.crt": s.env.ServingCA.PEM, "forward.crt": forwarding.Cert, "forward.key": forwarding.Key,
		"tls.crt": serving.Cert, "tls.key": serving.Key, "clients.crt": s.env.ClientCA.PEM,
		"tokens.csv": []byte(stansToken + ",stan,1\n"), "authentication.yaml": []byte(structured(s.operator)),
	}
	for _, name := range []string{"root.kubeconfig", "shards.kubeconfig"} {
		if v.files[name], err = os.ReadFile(filepath.Join(s.env.Dir, name)); err != nil { //nolint:gosec // in our work directory
			return nil, err
		}
	}
	return v, harness.Mount(v.dir, v.files)
}

func (v *volume) file(name string) string { return filepath.Join(v.dir, name) }

// put replaces files, given by name and content in turn.
func (v *volume) put(files map[string][]byte) error {
	for name, content := range files {
		v.files[name] = content
	}
	return harness.Mount(v.dir, v.files)
}

// pairs makes what the proxy serves with and what it shows to shards.
func (v *volume) pairs() (serving, forwarding harness.KeyPair, err error) {
	v.made++
	dir := filepath.Join(v.env.Dir, fmt.Sprintf("pairs-%d", v.made))
	if serving, err = v.env.ServingCA.Serving(dir, "proxy"); err != nil {
		return serving, forwarding, err
	}
	forwarding, err = v.env.RequestHeaderCA.Client(dir, "front-proxy")
	return serving, forwarding, err
}

// entry is one of the mapping file.
func (v *volume) entry(path, backend string) string {
	return fmt.Sprintf("- path: %s\n  backend: %s\n  backend_server_ca: %s\n  proxy_client_cert: %s\n  proxy_client_key: %s\n",
		path, backend, v.file("shards-ca.crt"), v.file("forward.crt"), v.file("forward.key"))
}

// structured is an AuthenticationConfiguration that trusts the issuers.
func structured(issuers ...*issuertest.Issuer) string {
	var b strings.Builder
	b.WriteString("apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\njwt:\n")
	for _, i := range issuers {
		fmt.Fprintf(&b, "- issuer:\n    url: %s\n    audiences: [%s]\n    certificateAuthority: %q\n  claimMappings:\n    username: {claim: email, prefix: 'op:'}\n",
			i.URL(), audience, i.CAPEM())
	}
	return b.String()
}

// withUser is a kubeconfig with another client certificate.
func withUser(kubeconfig []byte, user harness.KeyPair) ([]byte, error) {
	config, err := clientcmd.Load(kubeconfig)
	if err != nil {
		return nil, err
	}
	for _, u := range config.AuthInfos {
		u.ClientCertificateData, u.ClientKeyData = user.Cert, user.Key
	}
	return clientcmd.Write(*config)
}

// backend is what the mapping file leads to for a while.
type backend struct {
	url    string
	server *http.Server
}

func newBackend(ctx context.Context, env *harness.Environment) (*backend, error) {
	pair, err := env.ServingCA.Serving(filepath.Join(env.Dir, "backend"), "serving")
	if err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &backend{url: "https://" + listener.Addr().String(), server: &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("mapped")) }),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: 10 * time.Second,
	}}
	go func() { _ = b.server.ServeTLS(listener, "", "") }() // ends with close
	return b, nil
}

func (b *backend) close() { _ = b.server.Close() }
