package proxy

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	stdlog "log"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/authn"
	"frontproxy/index"
	"frontproxy/proxy/logindiscovery"
)

// Proxy serves requests; see ServeHTTP for their way.
type Proxy struct {
	router  *router
	decider Decider

	health     *health
	metrics    *Metrics
	authorizer Authorizer
	cors       http.Handler // the chain from CORS on; nil: no browser may call
	audit      *Audit       // nil: off
	tracer     trace.Tracer // nil: off

	exchanges             sync.Pool // of *exchange
	buffers, smallBuffers *bufferPool
	streams               *streamSet
	failures              *rate.Limiter // of log lines about upstreams
	distrusts             *rate.Limiter // of those about servers that do not believe the proxy
	panics                atomic.Uint64
	inFlight              atomic.Int64
	limit                 inFlight
	recheck               func(*http.Request, *index.Target, *authn.Decision) *authn.Decision
	recheckPeriod         time.Duration
	progressTimeout       time.Duration
	pacedStreams          sync.Pool     // of *pacedStream
	connections           *connections  // nil: it does not run
	returned              *connListener // nil, too
	endedStreams          atomic.Uint64
	explainer             Explainer     // nil: nothing is explained
	explaining            chan struct{} // has the one credential that is being explained
	explains              *rate.Limiter // to operators
	sameSite              http.CrossOriginProtection
	workspaceExplains     *workspaceLimiter
	login                 *logindiscovery.Discovery // nil: off
	status                StatusSources
	flags                 map[string]string
	owner                 func(*authn.Decision) *authn.Decision

	serving         *genericapiserver.SecureServingInfo
	curves          []tls.CurveID
	shutdownDelay   time.Duration
	shutdownTimeout time.Duration

	log      klog.Logger
	errorLog *stdlog.Logger
	now      func() time.Time
}

// defaultShutdownTimeout is kcp's.
const defaultShutdownTimeout = 60 * time.Second

// What requests that could not be forwarded may write to the log: clients, and
// tenants with dead mounts, choose how many there are.
const (
	failureLines = 5 // a second
	failureBurst = 20
)

// New does no I/O and starts nothing.
func New(c Config) (*Proxy, error) {
	switch {
	case c.Mappings == nil || c.Decider == nil:
		return nil, errors.New("a proxy needs mappings and an authenticator")
	}
	for _, o := range c.CORSOrigins {
		if o == "" {
			return nil, errors.New("--cors-allowed-origins: a value is empty, which would match every origin; remove it")
		}
		if _, err := regexp.Compile(o); err != nil {
			return nil, fmt.Errorf("--cors-allowed-origins: %q is not a regular expression: %w", o, err)
		}
	}
	p := &Proxy{
		decider: c.Decider,
		buffers: newBufferPool(copyBuffer), smallBuffers: newBufferPool(streamBuffer), streams: newStreamSet(),
		serving: c.Serving, curves: c.Curves, shutdownDelay: c.ShutdownDelay, shutdownTimeout: c.ShutdownTimeout,
		metrics: c.Metrics, authorizer: c.Authorizer, log: c.Log, now: c.Now,
		owner: c.Owner, recheck: c.Recheck, recheckPeriod: cmp.Or(c.RecheckPeriod, defaultRecheckPeriod),
		progressTimeout: cmp.Or(c.ProgressTimeout, defaultProgressTimeout),
	}
	if p.metrics == nil {
		p.metrics = NewMetrics("")
	}
	var err error
	if p.router, err = newRouter(c.routing(p.metrics)); err != nil {
		return nil, err
	}
	p.limit.init(c.MaxInFlight)
	if c.Serving != nil && c.Serving.Listener != nil {
		p.connections = &connections{Listener: c.Serving.Listener, most: int64(c.MaxConnections), log: c.Log, clock: clock.RealClock{}, progress: p.progressTimeout}
		p.returned = newConnListener(c.Serving.Listener)
	}
	p.failures = rate.NewLimiter(failureLines, failureBurst)
	p.distrusts = rate.NewLimiter(rate.Every(time.Minute), 1)
	p.explainer, p.explaining = c.Explainer, make(chan struct{}, 1)
	p.explains, p.workspaceExplains = rate.NewLimiter(explainsPerSecond, explainsAtOnce), newWorkspaceLimiter()
	p.status, p.flags, p.login = c.Status, c.Flags, c.LoginDiscovery
	if p.now == nil {
		p.now = time.Now
	}
	if p.shutdownTimeout == 0 {
		p.shutdownTimeout = defaultShutdownTimeout
	}
	p.errorLog = stdlog.New(logWriter{c.Log}, "", 0)
	p.exchanges.New = func() any { return p.newExchange() }
	p.pacedStreams.New = func() any { return p.newPacedStream() }
	p.health = &health{now: p.now, sync: c.ShardStatus}
	p.cors = p.withCORS(c.CORSOrigins)
	p.audit = c.Audit
	if c.Tracing != nil {
		p.tracer = c.Tracing.Tracer("frontproxy/proxy")
	}
	p.status.Shards = c.ShardStatus
	p.status.own = p.certificates
	p.status.Started = p.now()
	p.status.reportExpired(p.now(), c.Log)
	p.metrics.registry.MustRegister(&proxyCollector{p, c.ShardStatus})
	p.metrics.RegisterSources(Sources{own: p.certificates})
	return p, nil
}

// Panics is how many panics have been contained.
func (p *Proxy) Panics() uint64 { return p.panics.Load() }

// log writes the request's line.
func (x *exchange) log(log klog.Logger, r *http.Request) {
	values := []any{"requestID", x.id, "method", r.Method, "path", r.URL.Path, "code", x.code, "latency", x.p.now().Sub(x.start), "client", r.RemoteAddr}
	if x.dest.Target.Cluster != "" {
		values = append(values, "cluster", x.dest.Target.Cluster)
	}
	if x.dest.Target.Shard != nil {
		values = append(values, "shard", x.dest.Target.Shard.Name)
	}
	if d := x.decision; d != nil {
		values = append(values, "by", d.Authenticator)
		if d.User != nil {
			values = append(values, "user", d.User.GetName())
		}
		if d.ID != "" {
			values = append(values, "refusal", d.ID, "because", reasons(d))
		}
	}
	log.Info("Request", values...)
}

// logWriter passes on what net/http logs by itself: noise of single
// connections, wanted only by those who look for it.
type logWriter struct{ log klog.Logger }

// Write implements io.Writer.
func (w logWriter) Write(line []byte) (int, error) {
	w.log.V(4).Info("net/http: " + strings.TrimSpace(string(line)))
	return len(line), nil
}

func stack() string { return string(debug.Stack()) }

// Reload has the mapping file and the TLS files of its entries looked at now; Run
// does that.
func (p *Proxy) Reload() { p.router.Reload() }
