package proxy

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn"
	"frontproxy/index"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/metrics"
	"frontproxy/proxy/routing"
	"frontproxy/proxy/routing/routingtest"
	"frontproxy/proxy/upstream"
)

// BenchmarkRequest compares the proxy with the least a Go reverse proxy costs:
// TLS on both sides, the usual transport, no decision.
func BenchmarkRequest(b *testing.B) {
	body := make([]byte, 1024)
	for _, http2 := range []bool{false, true} {
		name := map[bool]string{false: "HTTP1", true: "HTTP2"}[http2]
		b.Run(name+"/front-proxy", func(b *testing.B) {
			w := newWorld(b)
			quietShard(b, w, body)
			f := w.front(b)
			requests(b, f.client(b, http2), f.URL+"/clusters/root:ws/api/v1/namespaces/default/configmaps/x")
		})
		b.Run(name+"/login-discovery", func(b *testing.B) {
			w := newWorld(b)
			quietShard(b, w, body)
			w.withLogin(b)
			f := w.front(b)
			requests(b, f.client(b, http2), f.URL+"/clusters/root:ws/api/v1/namespaces/default/configmaps/x")
		})
		b.Run(name+"/ReverseProxy", func(b *testing.B) {
			w := newWorld(b)
			s := quietShard(b, w, body)
			bare := &httputil.ReverseProxy{Transport: usualTransport(w), Rewrite: func(pr *httputil.ProxyRequest) { pr.SetURL(parse(b, s)) }}
			server := httptest.NewUnstartedServer(bare)
			server.TLS = &tls.Config{Certificates: []tls.Certificate{w.serving.Pair(b, "bare")}}
			server.EnableHTTP2 = true
			server.StartTLS()
			defer server.Close()
			f := &front{root: w.serving.Pool}
			requests(b, f.client(b, http2), server.URL+"/clusters/root:ws/api/v1/namespaces/default/configmaps/x")
		})
	}
}

// usualTransport shares connections over HTTP/2.
func usualTransport(w *world) *http.Transport {
	t := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: w.serving.Pool, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 256,
		DisableCompression: true, Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{MaxReadFrameSize: upstream.MaxFrame},
	}
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(true)
	return t
}

// quietShard answers without looking, and returns its URL.
func quietShard(b *testing.B, w *world, body []byte) string {
	s := w.shard(b, "shard-1", false, nil)
	s.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(body) })
	return s.URL
}

func requests(b *testing.B, c *http.Client, url string) {
	b.ReportAllocs()
	for b.Loop() {
		r, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			b.Fatal(err)
		}
		r.Header["Authorization"] = []string{"Bearer token"}
		res, err := c.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			b.Fatal(res.Status)
		}
	}
}

// answering is a transport that answers from memory.
type answering struct{ header http.Header }

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: a.header.Clone(), Body: http.NoBody, Request: r}, nil
}

// TestAllocations bounds what a request costs beyond a bare ReverseProxy.
func TestAllocations(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", false, nil)
	header := http.Header{"Content-Type": {"application/json"}}
	r := httptest.NewRequest("GET", "/clusters/root:ws/api/v1/namespaces/default/configmaps/x", nil)
	r.Header = http.Header{"Authorization": {"Bearer token"}, "Accept": {"application/json"}, "User-Agent": {"kubectl"}}
	d := &authn.Decision{User: alice, Status: 200}
	p, err := New(Config{Routing: routing.Config{Mappings: w.mappings(t, routingtest.ShardsMapping), Index: w.index}, Decider: deciderFunc(w.decide)})
	if err != nil {
		t.Fatal(err)
	}
	x := p.newExchange()
	base := parse(t, "https://shard")
	bare := &httputil.ReverseProxy{Transport: answering{header}, BufferPool: newBufferPool(copyBuffer), Rewrite: func(pr *httputil.ProxyRequest) { pr.SetURL(base) }}
	floor := testing.AllocsPerRun(500, func() { bare.ServeHTTP(&discard{header: http.Header{}}, r) })
	ours := testing.AllocsPerRun(500, func() {
		var status *metav1.Status
		if x.upgrade, x.dest, status = p.resolve(r); status != nil {
			t.Fatal(status)
		}
		x.dest.Transport = answering{header}
		x.decision, x.forwardedUser = d, d.User
		x.forward(&discard{header: http.Header{}}, r)
		p.config.Metrics.RequestDone(x.labels(r, time.Millisecond))
		x.reset()
	})
	t.Logf("%.0f allocations, a bare ReverseProxy %.0f", ours, floor)
	if ours > floor+10 {
		t.Errorf("%.0f allocations a request, a bare ReverseProxy makes %.0f", ours, floor)
	}
}

// discard is a ResponseWriter.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

// BenchmarkMetrics is what counting costs a request.
func BenchmarkMetrics(b *testing.B) {
	w := newWorld(b)
	s := w.shard(b, "shard-1", false, nil)
	m := metrics.New("")
	x := &exchange{record: record{code: 200, admission: admission{decision: &authn.Decision{User: alice, Authenticator: "token"}}}}
	x.dest = destination.Destination{Kind: destination.Shard, Shard: s.Shard.Name, APIPath: "/api/v1/namespaces/default/configmaps/x", Target: index.Target{Shard: s.Shard}}
	r := httptest.NewRequest("GET", "/clusters/root:ws/api/v1/namespaces/default/configmaps/x", nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Lookup(&x.dest.Target, nil)
			m.Decided(x.decision)
			m.Traffic(x.dest.Shard).Received.Add(100)
			m.RequestDone(x.labels(r, time.Millisecond))
		}
	})
}
