package main

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"frontproxy/authn/serviceaccount"
	"frontproxy/e2e/harness"
	"frontproxy/e2e/standin"
)

// clientSending returns a client that sends the certificate even when the
// server does not name its CA, and a new connection for every request.
func (p *runningProxy) clientSending(cert tls.Certificate) *http.Client {
	p.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.kcp.ServingCA.PEM)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
		RootCAs: roots, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
	}}
	p.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// boundToken is a service account's token as by TokenRequest, signed with the
// pair's key.
func boundToken(t *testing.T, pair harness.KeyPair, cluster string) string {
	t.Helper()
	return boundTokenFor(t, pair, cluster, "https://kcp.default.svc")
}

// boundTokenFor is boundToken for another audience.
func boundTokenFor(t *testing.T, pair harness.KeyPair, cluster, audience string) string {
	t.Helper()
	return signed(t, pair, map[string]any{
		"iss": "https://kcp.default.svc", "sub": "system:serviceaccount:default:bot", "aud": []string{audience},
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{"clusterName": cluster, "namespace": "default", "serviceaccount": map[string]any{"name": "bot", "uid": "bot-uid"}},
	})
}

// legacyToken is a service account's token as in a Secret.
func legacyToken(t *testing.T, pair harness.KeyPair, cluster, secret string) string {
	t.Helper()
	const prefix = "kubernetes.io/serviceaccount/"
	return signed(t, pair, map[string]any{
		"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:bot", prefix + "clusterName": cluster,
		prefix + "namespace": "default", prefix + "secret.name": secret, prefix + "service-account.name": "bot", prefix + "service-account.uid": "bot-uid",
	})
}

func signed(t *testing.T, pair harness.KeyPair, claims map[string]any) string {
	t.Helper()
	block, _ := pem.Decode(pair.Key)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, err := serviceaccount.NewKey(private.(crypto.Signer).Public())
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: key.ID}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// reviewer is a webhook authenticator: a TokenReview server over TLS that knows
// erin-token, until that is revoked.
type reviewer struct {
	*httptest.Server
	asked         atomic.Int64
	down, revoked atomic.Bool
}

func newReviewer(t *testing.T, _ *standin.KCP) *reviewer {
	t.Helper()
	w := &reviewer{}
	w.Server = httptest.NewUnstartedServer(http.HandlerFunc(w.review))
	w.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.StartTLS()
	t.Cleanup(w.Close)
	return w
}

func (w *reviewer) review(rw http.ResponseWriter, r *http.Request) {
	w.asked.Add(1)
	var question struct {
		APIVersion string
		Spec       struct{ Token string }
	}
	if w.down.Load() || json.NewDecoder(r.Body).Decode(&question) != nil {
		http.Error(rw, "down", http.StatusInternalServerError)
		return
	}
	status := `{}`
	if question.Spec.Token == "erin-token" && !w.revoked.Load() {
		status = `{"authenticated":true,"user":{"username":"erin","groups":["support","system:masters"]}}`
	}
	rw.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(rw, `{"apiVersion":%q,"kind":"TokenReview","status":%s}`, question.APIVersion, status)
}

func (w *reviewer) kubeconfig() []byte {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.Certificate().Raw})
	return []byte(fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: webhook
  cluster:
    server: %s/review
    certificate-authority-data: %s
contexts:
- name: webhook
  context: {cluster: webhook, user: ""}
current-context: webhook
`, w.URL, base64.StdEncoding.EncodeToString(ca)))
}
