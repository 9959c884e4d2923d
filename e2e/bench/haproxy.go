package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"

	"github.com/go-jose/go-jose/v4"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
)

// haproxyConfig does of our work what HAProxy can: TLS on both sides, the signature of every
// token, its issuer, the workspace's logical cluster by a map, no identity headers but its own,
// and these from the token's claims. It checks neither audience nor expiry, sends only the
// first group, and reads nothing again while it runs.
var haproxyConfig = template.Must(template.New("haproxy.cfg").Parse(`global
    nbthread 2
    ssl-default-bind-options ssl-min-ver TLSv1.2
    ssl-default-server-options ssl-min-ver TLSv1.2
    tune.bufsize 32768

defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    timeout http-request 30s

frontend clients
    bind {{.Address}} ssl crt {{.Serving}} alpn h2,http/1.1
    http-request set-var(txn.token) http_auth_bearer
    http-request set-var(txn.alg) var(txn.token),jwt_header_query('$.alg')
    http-request deny deny_status 401 unless { var(txn.alg) -m str RS256 }
    http-request set-var(txn.iss) var(txn.token),jwt_payload_query('$.iss')
    http-request deny deny_status 401 unless { var(txn.iss) -m str {{.Issuer}} }
    http-request deny deny_status 401 unless { var(txn.token),jwt_verify(txn.alg,"{{.Key}}") 1 }
    http-request set-var(txn.cluster) path,field(3,/),map_str({{.Clusters}})
    http-request deny deny_status 403 unless { var(txn.cluster) -m found }
    http-request set-path /clusters/%[var(txn.cluster)]/%[path,field(4,/,0)]
    http-request del-header x-remote- -m beg
    http-request del-header authorization
    http-request set-header X-Remote-User %[var(txn.token),jwt_payload_query('$.sub')]
    http-request set-header X-Remote-Group %[var(txn.token),jwt_payload_query('$.groups[0]')]
    default_backend shard

backend shard
    http-reuse always
    server shard {{.Backend}} ssl verify required ca-file {{.CA}} crt {{.Client}}
`))

// findHAProxy returns where HAProxy is; empty: it is not installed, and is left out.
func findHAProxy() string {
	path, err := exec.LookPath("haproxy")
	if err != nil {
		return ""
	}
	return path
}

// haproxy starts HAProxy with a configuration made for the world, which is kept beside the
// results.
func (b *bench) haproxy(w *world, port int) (*harness.Program, error) {
	dir := b.file("haproxy")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	backend, err := url.Parse(w.URL)
	if err != nil {
		return nil, err
	}
	values := map[string]string{
		"Address": "127.0.0.1:" + strconv.Itoa(port), "Backend": backend.Host, "Issuer": w.Issuer, "Key": w.IssuerKey, "CA": w.ServingCA,
		"Serving": filepath.Join(dir, "serving.pem"), "Client": filepath.Join(dir, "client.pem"), "Clusters": filepath.Join(dir, "clusters.map"),
	}
	var clusters strings.Builder
	for n := range w.Workspaces {
		fmt.Fprintf(&clusters, "root:ws-%d %s\n", n, clusterOf(n))
	}
	config := filepath.Join(dir, "haproxy.cfg")
	var text strings.Builder
	err = errors.Join(haproxyConfig.Execute(&text, values), joinPair(values["Serving"], w.Serving), joinPair(values["Client"], w.Forwarding),
		os.WriteFile(values["Clusters"], []byte(clusters.String()), 0o600), os.WriteFile(config, []byte(text.String()), 0o600))
	if err == nil {
		err = errors.Join(os.MkdirAll(b.dir, 0o755), os.WriteFile(filepath.Join(b.dir, "haproxy.cfg"), []byte(text.String()), 0o644)) //nolint:gosec // for everybody
	}
	if err != nil {
		return nil, fmt.Errorf("HAProxy's configuration: %w", err)
	}
	return harness.StartProgram(string(haproxy), b.log(string(haproxy)), b.haproxyPath, "-db", "-f", config)
}

// joinPair writes a certificate and its key into one file.
func joinPair(to string, p pair) error {
	cert, err := os.ReadFile(p.Cert)
	if err != nil {
		return err
	}
	key, err := os.ReadFile(p.Key)
	if err != nil {
		return err
	}
	return os.WriteFile(to, append(cert, key...), 0o600) //nolint:gosec // a file of the benchmark's own
}

// writeIssuerKey writes the public key that the issuer publishes, in PEM.
func writeIssuerKey(issuer *issuertest.Issuer, to string) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(issuer.CAPEM()))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsFor(pool), DisableKeepAlives: true}}
	res, err := client.Get(issuer.KeysURL())
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	var keys jose.JSONWebKeySet
	if err := json.NewDecoder(res.Body).Decode(&keys); err != nil {
		return err
	}
	published := keys.Key(issuer.KeyID())
	if len(published) == 0 {
		return errors.New("the issuer publishes no key")
	}
	der, err := x509.MarshalPKIXPublicKey(published[0].Key)
	if err != nil {
		return err
	}
	return os.WriteFile(to, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600)
}
