package proxy

import (
	"cmp"
	"errors"
	"hash/maphash"
	stdlog "log"
	"math"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/klog/v2"

	"frontproxy/index"
	"frontproxy/proxy/healthz"
	"frontproxy/proxy/metrics"
	"frontproxy/proxy/otherstores"
	"frontproxy/proxy/proxyprotocol"
	"frontproxy/proxy/routing"
	"frontproxy/proxy/zpages"
)

// Proxy serves requests; see ServeHTTP for their way.
type Proxy struct {
	config Config // what New got, with its defaults

	router    *routing.Router
	health    *healthz.Health
	cors      http.Handler // Kubernetes' CORS filter before serve; nil: no browser may call
	pages     pages
	reviews   *tokenReviews // nil: shards answer TokenReviews
	tracer    trace.Tracer  // nil: off
	limit     requestLimits
	rates     rates
	streams   streamSupervisor
	listeners listeners

	exchanges  sync.Pool // of *exchange
	buffers    copyBuffers
	failures   failureLog
	rejections identityRejections
	errorLog   *stdlog.Logger // net/http's

	panics   atomic.Uint64
	inFlight atomic.Int64
}

// listeners are what Run serves; nil: it does not run.
type listeners struct {
	connections *connections
	reused      *connListener
}

// defaultShutdownTimeout is kcp's.
const defaultShutdownTimeout = 60 * time.Second

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
	c.Rates.Now = c.Now
	c.ProgressTimeout = cmp.Or(c.ProgressTimeout, defaultProgressTimeout)
	c.RecheckPeriod = cmp.Or(c.RecheckPeriod, defaultRecheckPeriod)
	c.Server.ShutdownTimeout = cmp.Or(c.Server.ShutdownTimeout, defaultShutdownTimeout)
	c.Routing.Lookups = func(t index.Target, err error) { c.Metrics.Lookup(&t, err) }
	router, err := routing.New(c.Routing)
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		config: c, router: router, health: &healthz.Health{Now: c.Now, Shards: c.ShardStatus},
		rates: newRates(&c),
		streams: streamSupervisor{
			set: newStreamSet(), log: c.Log, router: router, recheck: c.Recheck, recheckPeriod: c.RecheckPeriod,
			moves: c.Moves, otherStores: otherstores.New(), listedVersionTimeout: listedVersionTimeout,
		},
		listeners:  newListeners(&c),
		buffers:    copyBuffers{large: newBufferPool(copyBuffer), small: newBufferPool(streamBuffer)},
		failures:   failureLog{lines: rate.NewLimiter(failureLines, failureBurst), log: c.Log, now: c.Now},
		rejections: identityRejections{lines: rate.NewLimiter(rate.Every(time.Minute), 1), log: c.Log, now: c.Now, metrics: c.Metrics},
		errorLog:   stdlog.New(logWriter{c.Log}, "", 0),
	}
	p.streams.buffers = &p.buffers
	if err := p.streams.subscribeToMoves(); err != nil {
		return nil, err
	}
	if c.Review != nil {
		if p.reviews, err = newTokenReviews(c.Now); err != nil {
			return nil, err
		}
	}
	p.limit.init(c.MaxInFlight, cmp.Or(c.Memory, math.MaxInt64))
	p.exchanges.New = func() any { return p.newExchange() }
	if len(c.CORSOrigins) > 0 {
		p.cors = genericfilters.WithCORS(http.HandlerFunc(p.serve), c.CORSOrigins, nil, nil, nil, "true")
	}
	if c.Tracing != nil {
		p.tracer = c.Tracing.Tracer("frontproxy/proxy")
	}
	if c.Pages.Explainer != nil {
		p.pages.explanations = zpages.NewExplanations(c.Pages.Explainer, p.explain, c.Now)
	}
	if c.Pages.Configurer != nil {
		p.pages.configurations = zpages.NewConfigurations(c.Pages.Configurer, c.Pages.Instance, c.Now)
	}
	p.completeStatus()
	c.Metrics.RegisterProxy(p.state)
	return p, nil
}

// completeStatus has /statusz show what the Proxy itself knows, and logs which certificates have
// expired already.
func (p *Proxy) completeStatus() {
	s := &p.config.Pages.Status
	s.Shards, s.Started = p.config.ShardStatus, p.config.Now()
	s.OwnCertificates, s.OwnReloads = p.certificates, p.router.Reloads
	p.pages.expired = zpages.NewExpiredCertificates(s, p.config.Log)
	p.pages.expired.Report(p.config.Now())
}

func newListeners(c *Config) listeners {
	s := &c.Server
	if s.Serving == nil || s.Serving.Listener == nil {
		return listeners{}
	}
	l := &connections{
		most: int64(s.MaxConnections), log: c.Log, progress: c.ProgressTimeout, heads: newHeads(cmp.Or(c.Memory, math.MaxInt64), c.Log),
		addressSeed: maphash.MakeSeed(), lines: rate.NewLimiter(rate.Every(time.Minute), 1), headerLines: rate.NewLimiter(rate.Every(time.Minute), 1),
	}
	l.Listener = proxyprotocol.NewListener(s.Serving.Listener, proxyprotocol.Config{Trusted: s.Balancers, Refused: l.refuseHeader})
	return listeners{connections: l, reused: newConnListener(s.Serving.Listener)}
}

// logWriter logs what net/http reports by itself, at a level for debugging: it is about single
// connections.
type logWriter struct{ log klog.Logger }

func (w logWriter) Write(line []byte) (int, error) {
	w.log.V(4).Info("net/http: " + strings.TrimSpace(string(line)))
	return len(line), nil
}

func stack() string { return string(debug.Stack()) }

// Reload has the mapping file and the TLS files of its entries looked at now; Run
// does that.
func (p *Proxy) Reload() { p.router.Reload() }

// SetMemory changes Config.Memory, for the requests that come next.
func (p *Proxy) SetMemory(bytes int64) {
	p.limit.setMemory(bytes)
	if l := p.listeners.connections; l != nil {
		l.heads.setMemory(bytes)
	}
}
