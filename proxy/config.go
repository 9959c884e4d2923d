package proxy

import (
	"context"
	"net/netip"
	"time"

	"go.opentelemetry.io/otel/trace"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/klog/v2"

	"frontproxy/authn"
	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/proxy/accessreview"
	"frontproxy/proxy/logindiscovery"
	"frontproxy/proxy/metrics"
	"frontproxy/proxy/routing"
	"frontproxy/proxy/zpages"
)

// Decider admits or refuses.
type Decider interface {
	// Decide never returns nil, and keeps nothing of the request.
	Decide(ctx context.Context, r authn.Request) *authn.Decision
}

// Authorizer says who may read what the proxy reports about itself; accessreview.RootAuthorizer does.
type Authorizer interface {
	// Authorize reports whether the access is allowed. An error means that this could
	// not be determined now. If the error wraps fairqueue.ErrFull, too many reviews of
	// this caller are in progress, and it should try again.
	Authorize(ctx context.Context, a accessreview.Access) (bool, error)
}

// Config is what a Proxy is made of.
type Config struct {
	// Routing says where requests go. Its Mappings are required; New sets Lookups.
	Routing routing.Config
	// Server is required by Run only.
	Server ServerConfig
	// Pages are the pages about the proxy itself.
	Pages PagesConfig

	// Decider is required.
	Decider Decider
	// Owner returns the Decision to create a Workspace under (authn's AsOwner).
	// Nil: it is created under the Decision as it is.
	Owner func(*authn.Decision) *authn.Decision
	// Review says whose token somebody else was shown (authn's Review), for TokenReviews in
	// workspaces. Nil: shards answer these.
	Review func(ctx context.Context, t *index.Target, raw string, audiences []string) *authn.Review
	// Recheck decides again about a stream that is under way. It gets the Decision that
	// admitted the stream, and returns nil when the stream may go on, else the refusal. It
	// may be called while the request is served. Nil: streams are not decided about again.
	Recheck func(ctx context.Context, r authn.Request, admitted *authn.Decision) *authn.Decision
	// RecheckPeriod is how often, at least 15 ms; 0 means 15 s.
	RecheckPeriod time.Duration
	// Moves knows which logical clusters move between shards: their clients are told to
	// list again. Nil: nothing moves.
	Moves Moves
	// CORSOrigins are regular expressions of the origins that browsers may call
	// from; empty means none.
	CORSOrigins []string

	// MaxInFlight bounds the requests, without streams, that run at shards and backends
	// at a time: half of it at any one shard or backend, an eighth in one logical cluster.
	// Further requests get 429. Requests that wait for authentication, for their client or
	// for a mounted host do not count. The memory of all requests is bounded by 128 KiB
	// times MaxInFlight, and that of requests for streams by 256 KiB times MaxInFlight; see
	// memoryBudget. 0: no bound on any of these, nor on the memory of open streams.
	MaxInFlight int
	// Memory is how many bytes the process may use, at first; SetMemory changes it. The memory
	// of requests is also bounded by a quarter of it, that of requests for streams by an eighth,
	// that of open streams by half, but each bound is at least 4 MiB. The memory of unfinished request
	// heads is bounded by a sixteenth, but at least 16 MiB and at most 256 MiB. 0: not known.
	Memory int64
	// Rates bounds how many requests a second there may be. Its clock is Now.
	Rates RatesConfig
	// ProgressTimeout is how long a client may take to send the next 4 KiB of its
	// request's body, or to read a piece of its answer (at most 32 KiB); 0 means a minute.
	// Upgraded connections have no such limit.
	ProgressTimeout time.Duration

	// ShardStatus says which shards have been read, for /readyz. Nil: /readyz waits for
	// none.
	ShardStatus func() shards.Status
	// Metrics count what the Proxy does, and are served at /metrics. Nil: made by
	// New, so that there are some.
	Metrics *metrics.Metrics
	// Audit records requests; nil: audit is off.
	Audit *Audit
	// Tracing gets the spans of requests; nil: there are none.
	Tracing trace.TracerProvider
	// Log is where requests (at V(3)) and failures go. The zero Logger is mute.
	Log klog.Logger
	// Now is the clock of limits, rates, logs, metrics and pages; nil means time.Now. Streams and
	// timeouts use the real clock, the Router its own.
	Now func() time.Time
}

// ServerConfig is what a Proxy serves with.
type ServerConfig struct {
	// Serving has the listener, the certificates and the TLS options. Its
	// ClientCA is what the listener advertises to clients with certificates; it
	// admits nobody.
	Serving *genericapiserver.SecureServingInfo
	// MaxConnections bounds the clients' connections; 0: no bound.
	MaxConnections int
	// Balancers are the addresses from which connections must begin with a header of the
	// PROXY protocol's version 2, which says who the client is. Empty: there are none, and
	// every connection's peer is the client.
	Balancers []netip.Prefix
	// ShutdownDelay is how long Run goes on serving after its context ended, while
	// /readyz fails already.
	ShutdownDelay time.Duration
	// ShutdownTimeout is how long requests may run after that; 0 means 60 s.
	ShutdownTimeout time.Duration
}

// PagesConfig is for the pages about the Proxy itself.
type PagesConfig struct {
	// Authorizer says who may read /metrics, /statusz, /flagz and explanations;
	// nil: nobody.
	Authorizer Authorizer
	// LoginDiscovery says where people log in. Nil: it is off.
	LoginDiscovery *logindiscovery.Discovery
	// Explainer says why requests are admitted or not, at ExplainPath. Nil: that
	// path is like any other.
	Explainer zpages.Explainer
	// Configurer tells owners about their WorkspaceAuthenticationConfigurations, at
	// AuthenticationPath, where Instance names this process. Nil: that path is like any
	// other.
	Configurer zpages.Configurer
	Instance   string
	// Status is what /statusz tells beyond what the Proxy knows itself.
	Status zpages.StatusSources
	// Flags are the command line's, by name, for /flagz. They must hold no secret.
	Flags map[string]string
}
