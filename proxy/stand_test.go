package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"frontproxy/authn"
	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/internal/certstest"
	"frontproxy/proxy/routing"
	"frontproxy/proxy/routing/routingtest"
)

// world has the CAs, stand-in shards and tables of one test.
type world struct {
	*routingtest.Files
	dir              string
	serving, clients *certstest.CA // sign servers' certificates, and the proxy's client certificate
	index            fakeIndex
	decide           func(context.Context, authn.Request) *authn.Decision
	config           Config       // what New gets beyond what front fills in
	prepare          func(*Proxy) // what front does before Run; nil: nothing
	mapping          string       // extra entries
}

// fakeIndex answers by path.
type fakeIndex map[string]any // index.Target, error, or a function that returns either or both

func (f fakeIndex) Lookup(path string) (index.Target, error) {
	switch v := f[path].(type) {
	case index.Target:
		return v, nil
	case error:
		return index.Target{}, v
	case func() error:
		return index.Target{}, v()
	case func() (index.Target, error):
		return v()
	}
	return index.Target{}, index.ErrUnknown
}

type deciderFunc func(context.Context, authn.Request) *authn.Decision

func (f deciderFunc) Decide(ctx context.Context, r authn.Request) *authn.Decision { return f(ctx, r) }

// alice is whom the usual Decider admits.
var alice = &user.DefaultInfo{Name: "alice", UID: "u1", Groups: []string{"dev", "system:authenticated"},
	Extra: map[string][]string{"authentication.kcp.io/scopes": {"cluster:2kd9"}, "authentication.kcp.io/cluster-name": {"2kd9"}}}

func newWorld(t testing.TB) *world {
	files := routingtest.NewFiles(t)
	w := &world{Files: files, dir: files.Dir, serving: files.Serving, clients: files.Clients, index: fakeIndex{}}
	w.decide = func(context.Context, authn.Request) *authn.Decision {
		return &authn.Decision{User: alice, Status: 200, Authenticator: "token"}
	}
	return w
}

func (w *world) write(t testing.TB, name string, data []byte) string { return w.Write(t, name, data) }

// seen is what a stand-in shard made of a request.
type seen struct {
	Method, URI, Host, Proto string
	Body                     string // its beginning
	Header                   http.Header
	User                     *user.DefaultInfo // nil: none was asserted
	Remote                   string
	Trailer                  http.Header // after the body
	Certificate              string      // common name of the client's
}

// standIn is a stand-in shard: it reads identities as a real one does.
type standIn struct {
	*httptest.Server
	Shard *shards.Shard

	mu   sync.Mutex
	seen []seen
}

// take returns and forgets what the shard has seen.
func (s *standIn) take() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.seen
	s.seen = nil
	return all
}

// one returns the only request the shard has seen.
func (s *standIn) one(t testing.TB) seen {
	t.Helper()
	all := s.take()
	if len(all) != 1 {
		t.Fatalf("the shard has seen %d requests, want 1: %+v", len(all), all)
	}
	return all[0]
}

// shard starts a stand-in shard that holds logical cluster 2kd9, known as
// root:ws. A nil handler answers 200 "ok".
func (w *world) shard(t testing.TB, name string, http2 bool, handler http.HandlerFunc) *standIn {
	t.Helper()
	s := &standIn{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s.record(t, r)
		if handler != nil {
			handler(rw, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(rw, "ok")
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{w.serving.Pair(t, name)}, ClientCAs: w.clients.Pool, ClientAuth: tls.VerifyClientCertIfGiven}
	s.EnableHTTP2 = http2
	s.StartTLS()
	t.Cleanup(s.Close)
	base, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.Shard = &shards.Shard{Name: name, BaseURL: base}
	w.index["root:ws"] = index.Target{Cluster: "2kd9", Shard: s.Shard}
	w.index["2kd9"] = w.index["root:ws"]
	return s
}

func (s *standIn) record(t testing.TB, r *http.Request) {
	v := seen{Method: r.Method, URI: r.RequestURI, Host: r.Host, Proto: r.Proto, Header: r.Header.Clone(), Remote: r.RemoteAddr}
	if len(r.TLS.PeerCertificates) > 0 {
		v.Certificate = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	u, err := readIdentity(r.Header)
	if err != nil {
		t.Errorf("requestheader authenticator: %v", err)
	}
	v.User = u
	if r.Header.Get("Upgrade") == "" && r.ContentLength >= 0 {
		start, _ := io.ReadAll(io.LimitReader(r.Body, 64))
		v.Body = string(start)
		_, _ = io.Copy(io.Discard, r.Body)
		v.Trailer = r.Trailer
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, v)
}

// readIdentity reads headers with apiserver's own authenticator.
func readIdentity(header http.Header) (*user.DefaultInfo, error) {
	a, err := headerrequest.New([]string{"X-Remote-User"}, []string{"X-Remote-Uid"}, []string{"X-Remote-Group"}, []string{"X-Remote-Extra-"})
	if err != nil {
		return nil, err
	}
	resp, ok, err := a.AuthenticateRequest(&http.Request{Header: header.Clone()})
	if err != nil || !ok {
		return nil, err
	}
	return resp.User.(*user.DefaultInfo), nil
}

// front is a proxy that runs.
type front struct {
	*Proxy
	URL  string
	addr string
	root *x509.CertPool
	stop func() error // ends Run and returns what it returned
}

func (w *world) mappings(t testing.TB, text string) *routing.Mappings {
	t.Helper()
	m, err := routing.LoadMappings("mapping.yaml", []byte(w.In(text)), os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// front starts the proxy on a free port.
func (w *world) front(t testing.TB) *front {
	t.Helper()
	c := w.config
	if c.Routing.Mappings == nil {
		c.Routing.Mappings = w.mappings(t, routingtest.ShardsMapping+w.mapping)
	}
	c.Routing.Index, c.Decider = w.index, deciderFunc(w.decide)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if c.Server.Serving == nil {
		c.Server.Serving = &genericapiserver.SecureServingInfo{}
	}
	cert, key := w.serving.Issue(t, "front")
	if c.Server.Serving.Cert, err = dynamiccertificates.NewStaticCertKeyContent("serving", cert, key); err != nil {
		t.Fatal(err)
	}
	c.Server.Serving.Listener = listener
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if w.prepare != nil {
		w.prepare(p)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return &front{Proxy: p, URL: "https://" + listener.Addr().String(), addr: listener.Addr().String(), root: w.serving.Pool, stop: stop}
}

// quickCurves are for the key exchange of the tests' own clients. The usual one, with ML-KEM, makes
// handshakes dear under the race detector, and tests make thousands of them.
var quickCurves = []tls.CurveID{tls.CurveP256}

// client returns an HTTP client of the proxy.
func (f *front) client(t testing.TB, http2 bool) *http.Client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: f.root, CurvePreferences: quickCurves}, Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetHTTP1(!http2)
	tr.Protocols.SetHTTP2(http2)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// stuck is how long a test waits for one thing to happen before it fails. It is
// no measure of anything: on a busy machine a handshake takes seconds.
const stuck = 2 * time.Minute

// crowd returns clients for requests that are many at a time and that wait at a
// shard until the test lets them go: only its end ends them. On a busy machine
// connections that are made in a crowd time out, so there are few: over HTTP/1.1
// one for each of held requests and some more, for which the others wait; over
// HTTP/2, where clients have one each, these are there already. Request n is for
// client n modulo their number.
func (f *front) crowd(t testing.TB, http2 bool, requests, held int) []*http.Client {
	t.Helper()
	clients := make([]*http.Client, 1)
	if http2 {
		clients = make([]*http.Client, 1+requests*5/(defaultStreams*4)) // each has streams to spare
	}
	for n := range clients {
		c := f.client(t, http2)
		c.Timeout = 0
		if !http2 {
			tr := c.Transport.(*http.Transport)
			tr.MaxConnsPerHost, tr.MaxIdleConnsPerHost = held+8, held+8
		}
		for deadline := time.Now().Add(stuck); ; {
			resp, err := c.Get(f.URL + "/livez")
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		clients[n] = c
	}
	return clients
}

// raw sends bytes over a TLS connection and returns what answers them.
func (f *front) raw(t testing.TB, text string) (*http.Response, []byte) {
	t.Helper()
	conn := f.dial(t)
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer to %q: %v", text, err)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	return res, body
}

func (f *front) dial(t testing.TB) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.root, CurvePreferences: quickCurves, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// status decodes a kube Status.
func status(t testing.TB, body []byte) *metav1.Status {
	t.Helper()
	s := &metav1.Status{}
	if err := json.Unmarshal(body, s); err != nil || s.Kind != "Status" || s.APIVersion != "v1" {
		t.Fatalf("the answer is no Status (%v): %s", err, body)
	}
	return s
}

func do(t testing.TB, c *http.Client, method, target string, header http.Header) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequest(method, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

func protocols(t *testing.T, test func(t *testing.T, client2, shard2 bool)) {
	for _, client2 := range []bool{false, true} {
		for _, shard2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("client HTTP/2 %v, shard HTTP/2 %v", client2, shard2), func(t *testing.T) { test(t, client2, shard2) })
		}
	}
}

func shardAt(name string, base *url.URL) *shards.Shard {
	return &shards.Shard{Name: name, BaseURL: base}
}

// jwt is a token with claims and a worthless signature.
func jwt(claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"RS256"}`)) + "." + enc([]byte(claims)) + "." + enc([]byte("x"))
}
