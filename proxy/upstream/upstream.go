package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/internal/certs"
	"frontproxy/internal/egress"
	"frontproxy/internal/filewatch"
	"frontproxy/proxy/requestinfo"
)

const (
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 10 * time.Second
	// continueTimeout is how long a client that sent "Expect: 100-continue" has its
	// body wait for the server's word; net/http's own. A server that refuses has
	// answered by then and, having read nothing, closes the connection.
	continueTimeout = time.Second
	// idleTimeout is below that of API servers (90 s), which so close no
	// connection that is about to be used.
	idleTimeout = 80 * time.Second
	// MaxDedicated is how many requests at a time have connections for
	// themselves; so many may wait for the next ones, of a shard and of all.
	MaxDedicated = 256
	idleInAll    = 4 * MaxDedicated
	// MaxDedicatedWatches is how many watches at a time have connections for themselves.
	MaxDedicatedWatches = 32
	// StreamWindow is what may be under way on an HTTP/2 stream, in bytes.
	StreamWindow = 256 << 10
	// A connection that has been silent for pingAfter is pinged, and given up
	// pingTimeout later, so that a shard that vanished is noticed.
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second
)

// Upstream carries requests to backends under one TLS identity. Changed files
// make a new pair of transports: new requests use it at once, those under way
// end on the connections they have.
type Upstream struct {
	source   string // the entry of the mapping file, for metrics
	files    Files
	external bool                          // tenants choose that requests go there
	followed *filewatch.File[*Credentials] // files
	current  atomic.Pointer[transports]
	health   *healthChecker
	// alone are the requests that have a connection for themselves, upgrades not
	// counted; watching those of them that are watches, counted for themselves.
	alone, watching atomic.Int64
}

// transports are the connections made with one state of the files.
type transports struct {
	material *Credentials
	// shared offers HTTP/2, many requests on a connection; alone is HTTP/1.1, one
	// at a time. Upgrades are on alone, for HTTP/2 has none; a connection that was
	// upgraded is the tunnel's own and never carries another request: net/http
	// takes it out of the pool. Watching is like alone, for what waits.
	shared, alone, watching *http.Transport
}

// New makes one of files that m was read from; Run follows them. Source is what logs,
// metrics and /statusz call it. What is external has egress' limits. A nil clock is the
// real one.
func New(source string, files Files, m *Credentials, external bool, clk clock.Clock, log klog.Logger) *Upstream {
	u := &Upstream{source: source, files: files, external: external}
	u.followed = filewatch.Resume(filewatch.Config[*Credentials]{
		Name: source,
		Load: func(_ context.Context, read filewatch.ReadFunc) (*Credentials, error) {
			return readCredentials(files, read)
		},
		Use:   func(_, next *Credentials) { u.Use(next) },
		Clock: clk, Log: log,
	}, m, m.Contents(files))
	u.health = newHealthChecker(func() *tls.Config { return u.current.Load().material.config() }, log)
	u.current.Store(u.newTransports(m))
	return u
}

func (u *Upstream) newTransports(m *Credentials) *transports {
	return &transports{
		material: m,
		shared:   u.newTransport(m, u.health.dial, true),
		alone:    u.newTransport(m, u.health.dial, false),
		watching: u.newTransport(m, u.health.dialWaiting, false),
	}
}

// dialFunc is a net.Dialer's DialContext.
type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// newTransport makes one to servers that the operator chose, and whose answers are
// believed: their headers and informational answers have net/http's limits (10 MiB).
// How long an answer takes is theirs to say, as long as they live, which the health
// finds out, and which it also does of connections that cannot be made in time.
// There is no bound on connections: a shard has as many as requests that wait for it.
func (u *Upstream) newTransport(m *Credentials, dial dialFunc, http2 bool) *http.Transport {
	t := &http.Transport{
		DialContext:           dial,
		TLSClientConfig:       m.config(),
		TLSHandshakeTimeout:   handshakeTimeout,
		ExpectContinueTimeout: continueTimeout,
		MaxIdleConns:          idleInAll,
		MaxIdleConnsPerHost:   MaxDedicated,
		IdleConnTimeout:       idleTimeout,
		DisableCompression:    true, // bodies pass as they are
		Protocols:             new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:           pingAfter,
			PingTimeout:               pingTimeout,
			MaxReadFrameSize:          StreamWindow,
			MaxReceiveBufferPerStream: egress.StreamBuffer,
		},
	}
	if u.external {
		egress.LimitTransport(t)
	}
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(http2)
	return t
}

// RoundTrip implements http.RoundTripper. A request costs less CPU on an
// HTTP/1.1 connection of its own than on a shared one, and a large body does
// not wait for others; so most get one (docs/performance.md). Connections are
// shared by
//
//   - watches, but for a few: they are many, and mostly wait;
//   - writes whose body is in memory, so that they may be sent again: over HTTP/2 a
//     server that winds a connection down says which requests it has not looked at;
//   - bodies of unknown length: over HTTP/2 they may be answered while they last;
//   - whatever comes while aloneAtMost have one: a burst makes no burst of
//     handshakes at the shard.
func (u *Upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	t := u.current.Load()
	if _, upgrade := r.Header["Upgrade"]; upgrade {
		return t.alone.RoundTrip(r)
	}
	switch {
	case r.ContentLength < 0 || replayableWrite(r):
		return t.shared.RoundTrip(r)
	case requestinfo.Streaming(r.URL.Opaque, r.URL.RawQuery):
		return withFallback(t.watching, &u.watching, MaxDedicatedWatches, t.shared, r)
	}
	return withFallback(t.alone, &u.alone, MaxDedicated, t.shared, r)
}

// withFallback carries r with first, as long as no more than most are under way there, and
// else with then.
func withFallback(first *http.Transport, count *atomic.Int64, most int64, then *http.Transport, r *http.Request) (*http.Response, error) {
	if count.Add(1) > most {
		count.Add(-1)
		return then.RoundTrip(r)
	}
	res, err := first.RoundTrip(r)
	if err != nil || res.Body == http.NoBody {
		count.Add(-1)
		return res, err
	}
	res.Body = &dedicatedBody{ReadCloser: res.Body, count: count}
	return res, nil
}

// replayableWrite says whether r may change something, and has a body that the
// transport can send again, or none.
func replayableWrite(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false // the transport repeats them on any connection
	}
	return r.Body == nil || r.Body == http.NoBody || r.GetBody != nil
}

// dedicatedBody is the answer's to a request with a connection for itself, until
// it is closed.
type dedicatedBody struct {
	io.ReadCloser
	count  *atomic.Int64
	closed atomic.Bool
}

// Close implements io.Closer.
func (b *dedicatedBody) Close() error {
	if !b.closed.Swap(true) {
		b.count.Add(-1)
	}
	return b.ReadCloser.Close()
}

// Responds says whether requests to a server, by its host and port, are sent at all. They
// are not from when it has said nothing for 25 s to what was sent to it, or no connection to
// it could be made within 5 s, until it responds again. Of a server that refuses connections
// nothing is known.
func (u *Upstream) Responds(address string) bool { return u.health.responds(address) }

// Run follows the files and looks after connections until ctx ends.
func (u *Upstream) Run(ctx context.Context) {
	var looking sync.WaitGroup
	defer looking.Wait()
	looking.Go(func() { u.CheckHealth(ctx) })
	_ = u.followed.Run(ctx)
	u.Close()
}

// Use swaps the transports when m differs from what they were made with. It is
// called by one goroutine at a time.
func (u *Upstream) Use(m *Credentials) (changed bool) {
	old := u.current.Load()
	if bytes.Equal(m.CAPEM, old.material.CAPEM) && bytes.Equal(m.CertPEM, old.material.CertPEM) && bytes.Equal(m.KeyPEM, old.material.KeyPEM) {
		return false
	}
	u.current.Store(u.newTransports(m))
	old.close()
	return true
}

// Certificates are what u shows and expects, as they are in use.
func (u *Upstream) Certificates() []certs.Source {
	return []certs.Source{
		{Role: "client", Source: u.source, PEM: func() []byte { return u.current.Load().material.CertPEM }},
		{Role: "backend-ca", Source: u.source, PEM: func() []byte { return u.current.Load().material.CAPEM }},
	}
}

// CheckHealth looks after the connections until ctx ends, for who follows the files by
// itself; else Run does.
func (u *Upstream) CheckHealth(ctx context.Context) { u.health.run(ctx) }

// Source is what logs, metrics and /statusz call it.
func (u *Upstream) Source() string { return u.source }

// Files are those that it was made of.
func (u *Upstream) Files() Files { return u.files }

// Followed is who follows the files.
func (u *Upstream) Followed() *filewatch.File[*Credentials] { return u.followed }

// Credentials are those in use.
func (u *Upstream) Credentials() *Credentials { return u.current.Load().material }

// External says whether it has egress' limits.
func (u *Upstream) External() bool { return u.external }

// Dedicated is how many requests, and how many watches, have connections for
// themselves.
func (u *Upstream) Dedicated() (requests, watches int64) { return u.alone.Load(), u.watching.Load() }

// Close closes the connections that no request uses.
func (u *Upstream) Close() { u.current.Load().close() }

func (t *transports) close() {
	t.shared.CloseIdleConnections()
	t.alone.CloseIdleConnections()
	t.watching.CloseIdleConnections()
}
