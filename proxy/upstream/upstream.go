package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
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
	// continueTimeout is how long the body of a request with "Expect: 100-continue" waits
	// for the server's 100; net/http's own. A server that refuses has answered by then, and
	// closes the connection, because it has not read the body.
	continueTimeout = time.Second
	// idleTimeout is below that of API servers (90 s), so that they hardly ever close a
	// connection that is about to be used.
	idleTimeout = 80 * time.Second
	// MaxDedicated is how many requests at a time have a connection of their own. Each transport
	// keeps as many idle connections for each server, and maxIdleConns in all; http1 has only the
	// latter bound.
	MaxDedicated = 256
	maxIdleConns = 4 * MaxDedicated
	// MaxDedicatedWatches is how many watches at a time have a connection of their own.
	MaxDedicatedWatches = 32
	// MaxFrame is the largest HTTP/2 frame that is read, in bytes: each connection has a buffer
	// for one, and larger frames cost less.
	MaxFrame = 256 << 10
	// A connection that has been silent for pingAfter is pinged, and given up
	// pingTimeout later, so that a shard that vanished is noticed.
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second
)

// Upstream carries requests to backends under one TLS identity. When its files change, new
// requests use new transports at once; requests under way stay on their connections. New sets the
// exported fields, and nobody changes them.
type Upstream struct {
	Source   string                        // its name in logs, metrics and /statusz
	Files    Files                         // those that it was made from
	Followed *filewatch.File[*Credentials] // follows Files; nil: somebody else does, and calls Use
	External bool                          // it has the limits of package egress: tenants choose that requests go there
	current  atomic.Pointer[transports]
	health   *healthChecker
	// requests and watches count those under way that have a connection of their own,
	// without upgrades. A watch is not counted in requests.
	requests, watches atomic.Int64
}

// transports are the connections made with one state of the files.
type transports struct {
	credentials *Credentials
	// shared uses HTTP/2 if the server does, with many requests on one connection.
	// dedicated uses HTTP/1.1, with one request at a time. It carries upgrades, too, which
	// HTTP/2 does not have: net/http takes an upgraded connection out of the pool.
	// reads is like dedicated, for GET and HEAD without a body; nil: dedicated carries them, too.
	// watches is like dedicated, for requests that may be silent for long.
	shared, dedicated, watches *http.Transport
	reads                      *http1
}

// New returns one that uses the credentials m, which were read from files. Run follows these unless
// external is set. A nil clock is the real one.
func New(source string, files Files, m *Credentials, external bool, clk clock.Clock, log klog.Logger) *Upstream {
	u := &Upstream{Source: source, Files: files, External: external}
	if !external {
		u.Followed = filewatch.Resume(filewatch.Config[*Credentials]{
			Name: source,
			Load: func(_ context.Context, read filewatch.ReadFunc) (*Credentials, error) {
				next, errs := ReadCredentials(files, true, read)
				return next, errors.Join(errs...)
			},
			Use:   func(_, next *Credentials) { u.Use(next) },
			Clock: clk, Log: log,
		}, m, m.Contents(files))
	}
	u.health = newHealthChecker(func() *tls.Config { return u.current.Load().credentials.config() }, log)
	u.current.Store(u.newTransports(m))
	return u
}

func (u *Upstream) newTransports(m *Credentials) *transports {
	t := &transports{
		credentials: m,
		shared:      u.newTransport(m, u.health.dialFor(false), true),
		dedicated:   u.newTransport(m, u.health.dialFor(false), false),
		watches:     u.newTransport(m, u.health.dialFor(true), false),
	}
	if !u.External { // http1 has none of the limits of package egress
		t.reads = newHTTP1(u.health.dialFor(false), m.config())
	}
	return t
}

// newTransport returns a transport to servers that the operator chose. Their answers are
// trusted: headers and informational answers have only net/http's limits (10 MiB). An answer
// may take any time as long as the server is alive, which the healthChecker finds out. There
// is no bound on connections: a shard may have one for each request that waits for it.
func (u *Upstream) newTransport(m *Credentials, dial DialFunc, http2 bool) *http.Transport {
	t := &http.Transport{
		DialContext:           dial,
		TLSClientConfig:       m.config(),
		TLSHandshakeTimeout:   handshakeTimeout,
		ExpectContinueTimeout: continueTimeout,
		MaxIdleConns:          maxIdleConns,
		MaxIdleConnsPerHost:   MaxDedicated,
		IdleConnTimeout:       idleTimeout,
		DisableCompression:    true, // bodies pass as they are
		Protocols:             new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:           pingAfter,
			PingTimeout:               pingTimeout,
			MaxReadFrameSize:          MaxFrame,
			MaxReceiveBufferPerStream: egress.StreamBuffer,
		},
	}
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(http2)
	if u.External {
		egress.LimitTransport(t)
	}
	return t
}

// RoundTrip implements http.RoundTripper. A request costs less CPU on an
// HTTP/1.1 connection of its own than on a shared one, and a large body does
// not wait for others; so most get one (docs/performance.md). Connections are
// shared by
//
//   - watches beyond MaxDedicatedWatches: they are many, and mostly wait;
//   - writes whose body is in memory, so that they can be sent again: over HTTP/2 a server
//     that closes a connection says which requests it has not processed;
//   - requests with a body of unknown length: over HTTP/2 they can be answered before the
//     body has ended;
//   - all requests beyond MaxDedicated, so that a burst of requests is no burst of
//     handshakes for the shard.
func (u *Upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	t := u.current.Load()
	if _, upgrade := r.Header["Upgrade"]; upgrade {
		return t.dedicated.RoundTrip(r)
	}
	switch {
	case r.ContentLength < 0 || replayableWrite(r):
		return t.shared.RoundTrip(r)
	case requestinfo.Streaming(r.URL.Opaque, r.URL.RawQuery):
		return withFallback(t.watches, &u.watches, MaxDedicatedWatches, t.shared, r)
	}
	if t.reads != nil && t.reads.carries(r) {
		return withFallback(t.reads, &u.requests, MaxDedicated, t.shared, r)
	}
	return withFallback(t.dedicated, &u.requests, MaxDedicated, t.shared, r)
}

// withFallback sends r by preferred while no more than limit requests are under way there, else by
// fallback.
func withFallback(preferred http.RoundTripper, count *atomic.Int64, limit int64, fallback *http.Transport, r *http.Request) (*http.Response, error) {
	if count.Add(1) > limit {
		count.Add(-1)
		return fallback.RoundTrip(r)
	}
	res, err := preferred.RoundTrip(r)
	if err != nil || res.Body == http.NoBody {
		count.Add(-1)
		return res, err
	}
	res.Body = &dedicatedBody{ReadCloser: res.Body, count: count}
	return res, nil
}

// replayableWrite reports whether r may change something, and has a body that the
// transport can send again, or none.
func replayableWrite(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false // the transport repeats them on any connection
	}
	return r.Body == nil || r.Body == http.NoBody || r.GetBody != nil
}

// dedicatedBody is the body of an answer on a connection of its own. Closing it ends the
// count of the request.
type dedicatedBody struct {
	io.ReadCloser
	count  *atomic.Int64
	closed atomic.Bool
}

func (b *dedicatedBody) Close() error {
	if !b.closed.Swap(true) {
		b.count.Add(-1)
	}
	return b.ReadCloser.Close()
}

// Responds reports whether requests to a server, by its host and port, are sent at all. They
// are not from when it has said nothing for 25 s to what was sent to it, or no connection to
// it could be made within 5 s, until it responds again. Of a server that refuses connections
// nothing is known.
func (u *Upstream) Responds(address string) bool { return u.health.responds(address) }

// Run follows the files and checks the connections until ctx ends. Then it closes those that no
// request uses.
func (u *Upstream) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { u.health.run(ctx) })
	if u.Followed != nil {
		_ = u.Followed.Run(ctx)
	}
	running.Wait()
	u.current.Load().close()
}

// Use swaps the transports when m differs from what they were made with. It is
// called by one goroutine at a time.
func (u *Upstream) Use(m *Credentials) {
	old := u.current.Load()
	if bytes.Equal(m.CAPEM, old.credentials.CAPEM) && bytes.Equal(m.CertPEM, old.credentials.CertPEM) && bytes.Equal(m.KeyPEM, old.credentials.KeyPEM) {
		return
	}
	u.current.Store(u.newTransports(m))
	old.close()
}

// Certificates are those in use: the client certificate, and the CAs of servers.
func (u *Upstream) Certificates() []certs.Source {
	return []certs.Source{
		{Role: "client", Source: u.Source, PEM: func() []byte { return u.current.Load().credentials.CertPEM }},
		{Role: "backend-ca", Source: u.Source, PEM: func() []byte { return u.current.Load().credentials.CAPEM }},
	}
}

// Credentials are those in use.
func (u *Upstream) Credentials() *Credentials { return u.current.Load().credentials }

// Dedicated is how many requests, and how many watches, have a connection of their own.
func (u *Upstream) Dedicated() (requests, watches int64) { return u.requests.Load(), u.watches.Load() }

func (t *transports) close() {
	t.shared.CloseIdleConnections()
	t.dedicated.CloseIdleConnections()
	t.watches.CloseIdleConnections()
	if t.reads != nil {
		t.reads.close()
	}
}
