package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/internal/certs"
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
	// maxDedicatedConns is how many requests at a time have connections for
	// themselves; so many may wait for the next ones, of a shard and of all.
	maxDedicatedConns = 256
	idleInAll         = 4 * maxDedicatedConns
	// watchingAtMost is how many watches at a time have connections for themselves.
	watchingAtMost = 32
	// A connection that has been silent for pingAfter is pinged, and given up
	// pingTimeout later, so that a shard that vanished is noticed.
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second
)

// tlsFiles name the files of one TLS identity. Comparable: mappings with the
// same files share an upstream, and so its connections.
type tlsFiles struct{ ca, cert, key string }

// tlsCredentials is what tlsFiles held when they were read. Immutable.
type tlsCredentials struct {
	caPEM, certPEM, keyPEM []byte
	roots                  *x509.CertPool
	pair                   *tls.Certificate // nil: no client certificate
}

// upstream carries requests to backends under one TLS identity. Changed files
// make a new pair of transports: new requests use it at once, those under way
// end on the connections they have.
type upstream struct {
	source   string // the entry of the mapping file, for metrics
	files    tlsFiles
	limit    func(*http.Transport)            // what is stricter than for a shard; nil: nothing
	followed *filewatch.File[*tlsCredentials] // files
	current  atomic.Pointer[transports]
	pulse    *healthChecker
	// alone are the requests that have a connection for themselves, upgrades not
	// counted; watching those of them that are watches, counted for themselves.
	alone, watching atomic.Int64
}

// transports are the connections made with one state of the files.
type transports struct {
	material *tlsCredentials
	// shared offers HTTP/2, many requests on a connection; alone is HTTP/1.1, one
	// at a time. Upgrades are on alone, for HTTP/2 has none; a connection that was
	// upgraded is the tunnel's own and never carries another request: net/http
	// takes it out of the pool. Watching is like alone, for what waits.
	shared, alone, watching *http.Transport
}

// newUpstream makes one of files that m was read from; run follows them. Limit,
// unless nil, is called with each new transport. A nil clock is the real one.
func newUpstream(source string, files tlsFiles, m *tlsCredentials, limit func(*http.Transport), clk clock.Clock, log klog.Logger) *upstream {
	u := &upstream{source: source, files: files, limit: limit}
	u.followed = filewatch.Resume(filewatch.Config[*tlsCredentials]{
		Name: source,
		Load: func(_ context.Context, read filewatch.ReadFunc) (*tlsCredentials, error) {
			return readCredentials(files, read)
		},
		Use:   func(_, next *tlsCredentials) { u.use(next) },
		Clock: clk, Log: log,
	}, m, m.contents(files))
	u.pulse = newHealthChecker(func() *tls.Config { return u.current.Load().material.config() }, log)
	u.current.Store(u.newTransports(m))
	return u
}

func (u *upstream) newTransports(m *tlsCredentials) *transports {
	t := &transports{material: m, shared: u.newTransport(m, true), alone: u.newTransport(m, false), watching: u.newTransport(m, false)}
	t.watching.DialContext = u.pulse.dialWaiting
	return t
}

// config is a new one, of connections with m.
func (m *tlsCredentials) config() *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: m.roots}
	if m.pair != nil {
		config.Certificates = []tls.Certificate{*m.pair}
	}
	return config
}

// newTransport makes one to servers that the operator chose, and whose answers are
// believed: their headers and informational answers have net/http's limits (10 MiB).
// How long an answer takes is theirs to say, as long as they live, which the pulse
// finds out, and which it also does of connections that cannot be made in time.
// There is no bound on connections: a shard has as many as requests that wait for it.
func (u *upstream) newTransport(m *tlsCredentials, http2 bool) *http.Transport {
	t := &http.Transport{
		DialContext:           u.pulse.dial,
		TLSClientConfig:       m.config(),
		TLSHandshakeTimeout:   handshakeTimeout,
		ExpectContinueTimeout: continueTimeout,
		MaxIdleConns:          idleInAll,
		MaxIdleConnsPerHost:   maxDedicatedConns,
		IdleConnTimeout:       idleTimeout,
		DisableCompression:    true, // bodies pass as they are
		Protocols:             new(http.Protocols),
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout, MaxReadFrameSize: streamWindow},
	}
	if u.limit != nil {
		u.limit(t)
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
//   - writes that may go out twice (holdBody): over HTTP/2 a server that winds a
//     connection down says which requests it has not looked at;
//   - bodies of unknown length: over HTTP/2 they may be answered while they last;
//   - whatever comes while aloneAtMost have one: a burst makes no burst of
//     handshakes at the shard.
func (u *upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	t := u.current.Load()
	if _, upgrade := r.Header["Upgrade"]; upgrade {
		return t.alone.RoundTrip(r)
	}
	switch {
	case r.ContentLength < 0 || replayableWrite(r):
		return t.shared.RoundTrip(r)
	case requestinfo.Streaming(r.URL.Opaque, r.URL.RawQuery):
		return withFallback(t.watching, &u.watching, watchingAtMost, t.shared, r)
	}
	return withFallback(t.alone, &u.alone, maxDedicatedConns, t.shared, r)
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

// contents are those of the files that m was read from.
func (m *tlsCredentials) contents(files tlsFiles) map[string][]byte {
	all := map[string][]byte{}
	for name, text := range map[string][]byte{files.ca: m.caPEM, files.cert: m.certPEM, files.key: m.keyPEM} {
		if name != "" {
			all[name] = text
		}
	}
	return all
}

// run follows the files and looks after connections until ctx ends.
func (u *upstream) run(ctx context.Context) {
	var looking sync.WaitGroup
	defer looking.Wait()
	looking.Go(func() { u.pulse.run(ctx) })
	_ = u.followed.Run(ctx)
	u.close()
}

// upstreamRuns runs each of a changing set of upstreams: whoever makes upstreams
// runs them with it, for what a pulse has found out only its run takes back. It
// belongs to one goroutine.
type upstreamRuns struct {
	run     func(context.Context, *upstream)
	running sync.WaitGroup
	stops   map[*upstream]context.CancelFunc
}

func newUpstreamRuns(run func(context.Context, *upstream)) *upstreamRuns {
	return &upstreamRuns{run: run, stops: map[*upstream]context.CancelFunc{}}
}

// follow runs those of wanted that do not run yet, until ctx ends, and stops the
// others; their requests under way end on the connections they have.
func (r *upstreamRuns) follow(ctx context.Context, wanted []*upstream) {
	for _, u := range wanted {
		if r.stops[u] == nil {
			one, stop := context.WithCancel(ctx)
			r.stops[u] = stop
			r.running.Go(func() { r.run(one, u) })
		}
	}
	for u, stop := range r.stops {
		if !slices.Contains(wanted, u) {
			stop()
			delete(r.stops, u)
		}
	}
}

// end stops all and waits for them.
func (r *upstreamRuns) end() {
	for _, stop := range r.stops {
		stop()
	}
	r.running.Wait()
}

// use swaps the transports when m differs from what they were made with. It is
// called by one goroutine at a time.
func (u *upstream) use(m *tlsCredentials) (changed bool) {
	old := u.current.Load()
	if bytes.Equal(m.caPEM, old.material.caPEM) && bytes.Equal(m.certPEM, old.material.certPEM) && bytes.Equal(m.keyPEM, old.material.keyPEM) {
		return false
	}
	u.current.Store(u.newTransports(m))
	old.close()
	return true
}

// certificates are what u shows and expects, as they are in use.
func (u *upstream) certificates() []certs.Source {
	return []certs.Source{
		{Role: "client", Source: u.source, PEM: func() []byte { return u.current.Load().material.certPEM }},
		{Role: "backend-ca", Source: u.source, PEM: func() []byte { return u.current.Load().material.caPEM }},
	}
}

func (u *upstream) close() { u.current.Load().close() }

func (t *transports) close() {
	t.shared.CloseIdleConnections()
	t.alone.CloseIdleConnections()
	t.watching.CloseIdleConnections()
}

func readCredentials(files tlsFiles, readFile filewatch.ReadFunc) (*tlsCredentials, error) {
	m := &tlsCredentials{roots: x509.NewCertPool()}
	var err error
	if m.caPEM, err = readFile(files.ca); err != nil {
		return nil, fmt.Errorf("read the CA bundle: %w", err)
	}
	if !m.roots.AppendCertsFromPEM(m.caPEM) {
		return nil, fmt.Errorf("CA bundle %s: %w", files.ca, errNoCertificate)
	}
	if files.cert == "" {
		return m, nil
	}
	if m.certPEM, err = readFile(files.cert); err != nil {
		return nil, fmt.Errorf("read the client certificate: %w", err)
	}
	if m.keyPEM, err = readFile(files.key); err != nil {
		return nil, fmt.Errorf("read the client key: %w", err)
	}
	pair, err := tls.X509KeyPair(m.certPEM, m.keyPEM)
	if err != nil {
		return nil, fmt.Errorf("client certificate %s and key %s: %w", files.cert, files.key, err)
	}
	m.pair = &pair
	return m, nil
}

var errNoCertificate = errors.New("no PEM certificate in it")
