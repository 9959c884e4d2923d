package proxy

import (
	"cmp"
	"context"
	"errors"
	stdlog "log"
	"net/http"
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
	"frontproxy/proxy/metrics"
	"frontproxy/proxy/routing"
	"frontproxy/proxy/watchframes"
	"frontproxy/proxy/zpages"
)

// Proxy serves requests; see ServeHTTP for their way.
type Proxy struct {
	router  *routing.Router
	decider Decider
	owner   func(*authn.Decision) *authn.Decision // nil: nobody but who is decided
	health  *health
	cors    http.Handler // the chain from CORS on; nil: no browser may call
	pages
	limits
	forwarding
	streaming
	observers
	listening
}

// pages are what the proxy tells of itself, and who may read it.
type pages struct {
	authorizer   Authorizer           // nil: nobody may
	explainer    zpages.Explainer     // nil: nothing is explained
	explanations *zpages.Explanations // nil, too
	// configurations tells owners about theirs; nil: nobody does.
	configurations *zpages.Configurations
	login          *logindiscovery.Discovery // nil: off
	status         zpages.StatusSources
	flags          map[string]string
}

// limits bound what clients may cost.
type limits struct {
	limit           requestLimits
	progressTimeout time.Duration
	http2Writers    sync.Pool // of *http2Writer
}

// forwarding is what requests are forwarded with.
type forwarding struct {
	exchanges sync.Pool // of *exchange
	buffers   copyBuffers
	failures  *rate.Limiter // of log lines about upstreams
	distrusts *rate.Limiter // of those about servers that do not believe the proxy
	errorLog  *stdlog.Logger
	// shardFailingSince is routing.Config's; nil: not known.
	shardFailingSince func(shard string) time.Time
}

// streaming are the streams under way, and what decides about them again.
type streaming struct {
	streams       *streamSet
	recheck       func(context.Context, authn.Request, *authn.Decision) *authn.Decision
	recheckPeriod time.Duration
	endedStreams  atomic.Uint64

	moves        Moves              // nil: nothing moves
	moveErrors   watchframes.Errors // that tell of a move
	movedStreams atomic.Uint64      // ended because of moves
	otherStores  otherStores
	// listAnewTimeout is the constant, unless a test has changed it.
	listAnewTimeout time.Duration
}

// observers are notified of the results of requests.
type observers struct {
	metrics  *metrics.Metrics
	audit    *Audit       // nil: off
	tracer   trace.Tracer // nil: off
	log      klog.Logger
	now      func() time.Time
	panics   atomic.Uint64
	inFlight atomic.Int64
}

// listening is what Run serves with.
type listening struct {
	serving         *genericapiserver.SecureServingInfo
	connections     *connections  // nil: it does not run
	returned        *connListener // nil, too
	shutdownDelay   time.Duration
	shutdownTimeout time.Duration
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
	if c.Routing.Mappings == nil || c.Decider == nil {
		return nil, errors.New("a proxy needs mappings and an authenticator")
	}
	if err := checkOrigins(c.CORSOrigins); err != nil {
		return nil, err
	}
	if c.Metrics == nil {
		c.Metrics = metrics.New("")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.ProgressTimeout = cmp.Or(c.ProgressTimeout, defaultProgressTimeout)
	p := &Proxy{
		decider: c.Decider, owner: c.Owner, health: &health{now: c.Now, sync: c.ShardStatus},
		pages:     newPages(&c),
		listening: newListening(&c),
		streaming: streaming{streams: newStreamSet(), recheck: c.Recheck, recheckPeriod: cmp.Or(c.RecheckPeriod, defaultRecheckPeriod), otherStores: newOtherStores(), listAnewTimeout: listAnewTimeout},
		forwarding: forwarding{
			buffers:  copyBuffers{large: newBufferPool(copyBuffer), small: newBufferPool(streamBuffer)},
			failures: rate.NewLimiter(failureLines, failureBurst), distrusts: rate.NewLimiter(rate.Every(time.Minute), 1),
			errorLog: stdlog.New(logWriter{c.Log}, "", 0), shardFailingSince: c.Routing.ShardFailingSince,
		},
		observers: observers{metrics: c.Metrics, audit: c.Audit, log: c.Log, now: c.Now},
		limits:    limits{progressTimeout: c.ProgressTimeout},
	}
	c.Routing.Lookups = func(t index.Target, err error) { c.Metrics.Lookup(&t, err) }
	var err error
	if p.router, err = routing.New(c.Routing); err != nil {
		return nil, err
	}
	if err := p.subscribeToMoves(c.Moves); err != nil {
		return nil, err
	}
	p.limit.init(c.MaxInFlight)
	p.exchanges.New = func() any { return p.newExchange() }
	p.http2Writers.New = func() any { return p.newHTTP2Writer() }
	p.cors = p.withCORS(c.CORSOrigins)
	if c.Tracing != nil {
		p.tracer = c.Tracing.Tracer("frontproxy/proxy")
	}
	p.status.OwnCertificates, p.status.OwnReloads = p.certificates, p.router.Reloads
	if p.explainer != nil {
		p.explanations = zpages.NewExplanations(p.explainer, p.explain, p.now)
	}
	if configurer := c.Pages.Configurer; configurer != nil {
		p.configurations = zpages.NewConfigurations(configurer, c.Pages.Instance, p.now)
	}
	p.status.ReportExpired(p.now(), c.Log)
	p.metrics.RegisterProxy(p.state)
	return p, nil
}

func newPages(c *Config) pages {
	status := c.Pages.Status
	status.Shards, status.Started = c.ShardStatus, c.Now()
	return pages{
		authorizer: c.Pages.Authorizer, login: c.Pages.LoginDiscovery, status: status, flags: c.Pages.Flags,
		explainer: c.Pages.Explainer,
	}
}

func newListening(c *Config) listening {
	s := &c.Server
	l := listening{serving: s.Serving, shutdownDelay: s.ShutdownDelay, shutdownTimeout: cmp.Or(s.ShutdownTimeout, defaultShutdownTimeout)}
	if s.Serving != nil && s.Serving.Listener != nil {
		l.connections = &connections{Listener: s.Serving.Listener, most: int64(s.MaxConnections), log: c.Log, clock: clock.RealClock{}, progress: c.ProgressTimeout}
		l.returned = newConnListener(s.Serving.Listener)
	}
	return l
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
