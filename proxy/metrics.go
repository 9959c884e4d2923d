package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"frontproxy/authn"
	"frontproxy/authn/serviceaccount"
	"frontproxy/index"
	"frontproxy/lookup"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/requestinfo"
)

// Metrics are the instruments of one Proxy and what it stands on, in a registry
// of their own. Every label has few values: shards, resources and files that
// operators name, and fixed sets. No user, token, workspace, logical cluster or
// address is ever one.
//
// What requests count is found without locks (series); what can be read when
// someone looks is read then (Sources).
type Metrics struct {
	registry *prometheus.Registry
	page     http.Handler
	families []Family

	durations *counterCache[durationKey, prometheus.Observer]
	requests  *counterCache[requestKey, prometheus.Counter]
	traffic   *counterCache[string, traffic]

	lookups   [lookupResults]prometheus.Counter
	decisions [authn.Undecided + 1]prometheus.Counter // by authn.Outcome

	tlsErrors, upstreamErrors                                       *prometheus.CounterVec
	reviews, accountRefusals                                        *prometheus.CounterVec
	resourceWatchState, resourceWatchObjects                        *prometheus.GaugeVec
	resourceWatchLists, resourceWatchFailures, resourceWatchSkipped *prometheus.CounterVec
	requestsVec, sentVec, receivedVec                               *prometheus.CounterVec
	inFlight, openStreams, panics, shardReady                       *prometheus.Desc
	openConnections, refusedConnections                             *prometheus.Desc
	endedStreams                                                    *prometheus.Desc
	clusters, workspaces                                            *prometheus.Desc
	configurations, issuers, reloads, expiry                        *prometheus.Desc
	shardKeys, shardKeysRead, shardKeysFailed                       *prometheus.Desc
	webhookReviews, webhookState                                    *prometheus.Desc
}

// traffic are the bytes of bodies to and from a shard.
type traffic struct{ sent, received prometheus.Counter }

// durationKey and requestKey are label sets.
type (
	durationKey struct{ method, code string }
	requestKey  struct {
		code      string
		verb      requestinfo.Verb
		shard, by string
	}
)

// durationBuckets are kcp-front-proxy's, in seconds.
var durationBuckets = []float64{0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}

// NewMetrics makes the instruments; version is the program's. They serve one
// Proxy.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	b := &metricBuilder{registry: m.registry}
	b.kcp(m)
	b.perRequest(m)
	b.watches(m)
	b.states(m)
	info := b.gauge("front_proxy_build_info", "The version of front-proxy; always 1.", "version", "go_version")
	info.WithLabelValues(version, runtime.Version()).Set(1)
	m.families = b.families
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.page = promhttp.HandlerFor(prometheus.Gatherers{m.registry, auditMetrics{}}, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	return m
}

// kcp are the names that kcp-front-proxy has, as it has them.
func (b *metricBuilder) kcp(m *Metrics) {
	durations := b.histogram("proxy_request_duration_seconds", "Duration of requests, until the end of the response.", durationBuckets, "method", "code")
	m.durations = newCounterCache(func(k durationKey) prometheus.Observer { return durations.WithLabelValues(k.method, k.code) })
	m.tlsErrors = b.counter("kcp_listener_tls_connection_error", "Failed TLS connections to shards, by kind of error.", "shard", "error_type")
	m.sentVec = b.counter("kcp_backend_rq_body_bytes", "Bytes of request bodies sent to shards, without upgraded connections.", "shard")
	m.receivedVec = b.counter("kcp_backend_rs_body_bytes", "Bytes of response bodies received from shards, without upgraded connections.", "shard")
	m.traffic = newCounterCache(func(shard string) traffic {
		return traffic{sent: m.sentVec.WithLabelValues(shard), received: m.receivedVec.WithLabelValues(shard)}
	})
	m.clusters = b.read("kcp_indexed_logicalclusters", gaugeType, "Logical clusters of a shard in the index.", "shard")
}

func (b *metricBuilder) perRequest(m *Metrics) {
	m.requestsVec = b.counter("front_proxy_requests_total",
		"Completed requests. Code 0: the client disconnected before the response. Shard: the one that holds the cluster in the path; empty for other backends. "+
			"Authenticator: the one that admitted the request; empty if none did.", "code", "verb", "shard", "authenticator")
	m.requests = newCounterCache(func(k requestKey) prometheus.Counter {
		return m.requestsVec.WithLabelValues(k.code, k.verb.String(), k.shard, k.by)
	})
	lookups := b.counter("front_proxy_lookups_total", "Lookups of clusters by result.", "result")
	for r := range lookupResults {
		m.lookups[r] = lookups.WithLabelValues(r.String())
	}
	decisions := b.counter("front_proxy_decisions_total", "Requests by the outcome of authentication.", "outcome")
	for o, name := range map[authn.Outcome]string{authn.Skipped: "pass-through", authn.Accepted: "accepted", authn.Refused: "refused", authn.Undecided: "undecided"} {
		m.decisions[o] = decisions.WithLabelValues(name)
	}
	m.upstreamErrors = b.counter("front_proxy_upstream_errors_total",
		"Requests that could not be forwarded, or whose response was interrupted, while the client was connected. Upstream: shard, backend (of another mapping) or mount (a host that a tenant chose).", "upstream", "shard", "reason")
	m.reviews = b.counter("front_proxy_access_reviews_total", "SubjectAccessReviews sent to root for readers of the proxy's own pages.", "result")
	for _, result := range []string{"answered", "failed"} {
		m.reviews.WithLabelValues(result)
	}
	m.accountRefusals = b.counter("front_proxy_service_account_refusals_total", "Refused service account tokens.", "reason")
	m.inFlight = b.read("front_proxy_requests_in_flight", gaugeType, "Requests in flight, watches and upgrades included.")
	m.openStreams = b.read("front_proxy_open_streams", gaugeType, "Open watches and upgraded connections, and other responses of unknown length that have lasted for 15 s (kind answer).", "kind")
	m.openConnections = b.read("front_proxy_open_connections", gaugeType, "Open client connections.")
	m.refusedConnections = b.read("front_proxy_refused_connections_total", counterType, "Client connections closed on arrival because --max-connections were open.")
	m.endedStreams = b.read("front_proxy_streams_revoked_total", counterType, "Watches and upgraded connections ended because what admitted them was gone.")
	m.panics = b.read("front_proxy_panics_total", counterType, "Contained panics; each one is a bug to report.")
}

func (b *metricBuilder) watches(m *Metrics) {
	m.resourceWatchState = b.gauge("front_proxy_resource_watch_state", "State of a list and watch: 1 for its current state. An empty shard is the watch of Shard objects in root.", "shard", "resource", "state")
	m.resourceWatchLists = b.counter("front_proxy_resource_watch_lists_total", "Completed lists; all but the first are relists.", "shard", "resource")
	m.resourceWatchObjects = b.gauge("front_proxy_resource_watch_listed_objects", "Objects in the last list.", "shard", "resource")
	m.resourceWatchFailures = b.counter("front_proxy_resource_watch_failures_total", "Failed lists and watches.", "shard", "resource", "reason")
	m.resourceWatchSkipped = b.counter("front_proxy_resource_watch_skipped_objects_total", "Objects that could not be decoded.", "shard", "resource")
}

// states are read when someone looks.
func (b *metricBuilder) states(m *Metrics) {
	m.shardReady = b.read("front_proxy_shard_synced", gaugeType, "1 once everything that the proxy reads from a shard has been read.", "shard")
	m.workspaces = b.read("front_proxy_indexed_workspaces", gaugeType, "Workspaces of a shard in the index.", "shard")
	m.configurations = b.read("front_proxy_authentication_configurations", gaugeType, "WorkspaceAuthenticationConfigurations by state.", "state")
	m.issuers = b.read("front_proxy_issuers", gaugeType, "Issuers in use by state. Scope: the operator's (global) or workspaces'.", "scope", "state")
	m.webhookReviews = b.read("front_proxy_webhook_reviews_total", counterType, "Calls to the authentication webhook by result.", "result")
	m.webhookState = b.read("front_proxy_webhook_state", gaugeType, "State of the authentication webhook: 1 for its current state.", "state")
	m.shardKeys = b.read("front_proxy_shard_service_account_keys", gaugeType, "Service account keys fetched from a shard; 0 until the first fetch.", "shard")
	m.shardKeysRead = b.read("front_proxy_shard_service_account_keys_read_timestamp_seconds", gaugeType, "When a shard's service account keys were last fetched successfully; 0: never.", "shard")
	m.shardKeysFailed = b.read("front_proxy_shard_service_account_keys_failed", gaugeType, "1 if the last fetch of a shard's service account keys failed; the previous keys stay in use.", "shard")
	m.reloads = b.read("front_proxy_config_last_reload_successful", gaugeType, "1 if the current files of a source are in use; 0 if they changed and cannot be used, so that the previous content stays in use.", "source")
	m.expiry = b.read("front_proxy_certificate_expiration_timestamp_seconds", gaugeType,
		"When a certificate expires; for a bundle, the first expiry. Source: the flag, or the entry of the mapping file.", "role", "source")
}

// unknownShard is kcp's label for a TLS connection to no shard.
const unknownShard = "unknown"

// request counts one that is over.
func (m *Metrics) request(x *exchange, r *http.Request, took time.Duration) {
	code := codeLabel(x.code)
	if x.code != 0 { // as in kcp, where only what was answered counts
		m.durations.get(durationKey{methodLabel(r.Method), code}).Observe(took.Seconds())
	}
	key := requestKey{code: code, shard: x.dest.Shard, verb: requestinfo.VerbOf(r.Method, x.dest.APIPath, r.URL.RawQuery, x.upgrade)}
	if d := x.decision; d != nil {
		if key.by = d.Authenticator; d.PassThrough {
			key.by = "pass-through"
		}
	}
	m.requests.get(key).Inc()
}

// codeLabel is bounded: upstreams could answer any three digits.
func codeLabel(code int) string {
	switch {
	case code == http.StatusOK:
		return "200"
	case code == 0:
		return "0"
	case http.StatusText(code) == "":
		return "other"
	}
	return strconv.Itoa(code)
}

// methodLabel is as kcp has it, which has it from client_golang.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet:
		return "get"
	case http.MethodPut:
		return "put"
	case http.MethodHead:
		return "head"
	case http.MethodPost:
		return "post"
	case http.MethodDelete:
		return "delete"
	case http.MethodConnect:
		return "connect"
	case http.MethodOptions:
		return "options"
	case http.MethodTrace:
		return "trace"
	case http.MethodPatch:
		return "patch"
	}
	return "unknown"
}

// lookupResult is what a lookup came to.
type lookupResult int

const (
	lookupFound lookupResult = iota
	lookupMount
	lookupInvalid
	lookupUnknown
	lookupNotSynced
	lookupUnavailable
	lookupConflict
	lookupFailed
	lookupResults // how many there are
)

// String is the label's value.
func (r lookupResult) String() string {
	return [lookupResults]string{"found", "mount", "invalid", "unknown", "not_synced", "unavailable", "conflict", "failed"}[r]
}

func (m *Metrics) lookup(t *index.Target, err error) {
	m.lookups[resultOf(t, err)].Inc()
}

func resultOf(t *index.Target, err error) lookupResult {
	switch {
	case err == nil && t.Mount != nil:
		return lookupMount
	case err == nil:
		return lookupFound
	case errors.Is(err, index.ErrUnknown):
		return lookupUnknown
	case errors.Is(err, lookup.ErrNotACluster):
		return lookupInvalid
	case errors.Is(err, index.ErrNotSynced):
		return lookupNotSynced
	case errors.Is(err, index.ErrUnavailable):
		return lookupUnavailable
	case errors.Is(err, index.ErrConflict):
		return lookupConflict
	}
	return lookupFailed
}

func (m *Metrics) decision(d *authn.Decision) {
	outcome := authn.Refused
	switch {
	case d.PassThrough:
		outcome = authn.Skipped
	case d.User != nil:
		outcome = authn.Accepted
	case d.Status == http.StatusServiceUnavailable:
		outcome = authn.Undecided
	}
	m.decisions[outcome].Inc()
}

// upstreamError counts a request that could not be forwarded.
func (m *Metrics) upstreamError(to destination.Kind, shard string, err error) {
	reason := "other"
	kind := tlsErrorType(err)
	var network net.Error
	var op *net.OpError
	switch {
	case kind != "":
		reason = "tls"
		switch to {
		case destination.Shard, destination.VirtualWorkspace:
			m.tlsErrors.WithLabelValues(shard, kind).Inc()
		case destination.Backend:
			m.tlsErrors.WithLabelValues(unknownShard, kind).Inc()
		}
	case errors.As(err, &network) && network.Timeout():
		reason = "timeout"
	case errors.As(err, &op) && op.Op == "dial":
		reason = "connect"
	}
	m.upstreamErrors.WithLabelValues(to.String(), shard, reason).Inc()
}

// tlsErrorType is kcp's label for a failed TLS connection; empty for any other
// failure.
func tlsErrorType(err error) string {
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &authority):
		return "unknown_ca"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "expired_cert"
	case errors.As(err, &host):
		return "hostname_mismatch"
	case errors.As(err, &record):
		return "cipher_mismatch"
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"): // crypto/tls' alerts
		if op.Err.Error() == "tls: handshake failure" || op.Err.Error() == "tls: protocol version not supported" {
			return "cipher_mismatch"
		}
		return "other"
	case errors.As(err, &invalid), errors.As(err, &verification):
		return "other"
	}
	return ""
}

// ServiceAccountRefused counts a service account's token that was refused.
func (m *Metrics) ServiceAccountRefused(reason serviceaccount.Reason) {
	m.accountRefusals.WithLabelValues(string(reason)).Inc()
}
