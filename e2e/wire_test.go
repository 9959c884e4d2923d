package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"

	"frontproxy/e2e/harness"
)

// Requests that client libraries would not send.

// review is the body of "who am I".
const review = `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`

func reviewPath(cluster string) string {
	return "/clusters/" + cluster + "/apis/authentication.k8s.io/v1/selfsubjectreviews"
}

func protocols() []string { return []string{"h1", "h2"} }

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string {
	return fmt.Sprintf("status %d: %s", a.status, bytes.TrimSpace(a.body[:min(len(a.body), 300)]))
}

// user is whom the shard named.
func (a answer) user(t *testing.T) authenticationv1.UserInfo {
	t.Helper()
	var review authenticationv1.SelfSubjectReview
	if err := json.Unmarshal(a.body, &review); err != nil || a.status != http.StatusCreated {
		t.Fatalf("%s, want 201 and a review (logs: %s)", a, env.Logs())
	}
	return review.Status.UserInfo
}

// whoami asks over a protocol with exactly these headers.
func whoami(t *testing.T, protocol, cluster string, header http.Header) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, env.Proxy.URL+reviewPath(cluster), strings.NewReader(review))
	check(t, err)
	request.Header = header.Clone()
	request.Header.Set("Content-Type", "application/json")
	return send(t, protocol, request)
}

// send sends a request over a connection of its own.
func send(t *testing.T, protocol string, request *http.Request) answer {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: clientTLS(), ForceAttemptHTTP2: protocol == "h2"}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatalf("%s %s over %s: %v (logs: %s)", request.Method, request.URL.Path, protocol, err, env.Logs())
	}
	if want := map[string]int{"h1": 1, "h2": 2}[protocol]; response.ProtoMajor != want {
		t.Fatalf("answered with %s, want HTTP/%d", response.Proto, want)
	}
	return read(t, response)
}

func read(t *testing.T, response *http.Response) answer {
	t.Helper()
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	check(t, err)
	return answer{status: response.StatusCode, header: response.Header, body: body}
}

// sendRaw writes an HTTP/1.1 request byte for byte, with lines' ends as in
// the wire, and reads the answer.
func sendRaw(t *testing.T, request string) answer {
	t.Helper()
	dialer := &tls.Dialer{Config: clientTLS("http/1.1")}
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(env.Proxy.URL, "https://"))
	check(t, err)
	defer func() { _ = conn.Close() }()
	check(t, conn.SetDeadline(time.Now().Add(settled)))
	_, err = io.WriteString(conn, request)
	check(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("read the answer to %q: %v (logs: %s)", request, err, env.Logs())
	}
	return read(t, response)
}

// clientTLS trusts the proxy and offers protocols by ALPN.
func clientTLS(protocols ...string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(env.ServingCA.PEM)
	return &tls.Config{RootCAs: pool, NextProtos: protocols, MinVersion: tls.VersionTLS12}
}

// inParallel runs n functions at once and waits for them.
func inParallel(t *testing.T, n int, f func(ctx context.Context, i int)) {
	t.Helper()
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { f(t.Context(), i) })
	}
	group.Wait()
}

// upgradeRaw is sendRaw for an upgrade; it returns the status only.
func upgradeRaw(t *testing.T, request string) int {
	t.Helper()
	dialer := &tls.Dialer{Config: clientTLS("http/1.1")}
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(env.Proxy.URL, "https://"))
	check(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	check(t, conn.SetDeadline(time.Now().Add(settled)))
	_, err = io.WriteString(conn, request)
	check(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("read the answer to %q: %v (logs: %s)", request, err, env.Logs())
	}
	return response.StatusCode // the body never ends
}

// bearerProtocol is a token as a WebSocket subprotocol.
func bearerProtocol(token string) string {
	return "base64url.bearer.authorization.k8s.io." + base64.RawURLEncoding.EncodeToString([]byte(token))
}

// onlyReader hides what a reader is, so that its length is not known.
type onlyReader struct{ io.Reader }

// transportFor is a plain HTTP transport with a client certificate.
func transportFor(keys harness.KeyPair) (*http.Transport, error) {
	pair, err := tls.X509KeyPair(keys.Cert, keys.Key)
	if err != nil {
		return nil, err
	}
	tlsConfig := clientTLS()
	tlsConfig.Certificates = []tls.Certificate{pair}
	return &http.Transport{TLSClientConfig: tlsConfig}, nil
}
