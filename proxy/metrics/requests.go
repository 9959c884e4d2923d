package metrics

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"frontproxy/authn"
	"frontproxy/index"
	"frontproxy/lookup"
)

// Request is one that is over.
type Request struct {
	Method string
	// Code is the response's; 0: the client disconnected before there was one.
	Code int
	Verb string // one of requestinfo.Verb's
	// Shard is the one that the request went to; empty: it went elsewhere.
	Shard string
	// Authenticator is what admitted the request; empty: nothing did.
	Authenticator string
	// Took is how long it took, until the end of the response.
	Took time.Duration
}

// requestMetrics count requests, what they look up and what is decided about them.
type requestMetrics struct {
	durations                  *prometheus.HistogramVec
	counts, lookups, decisions *prometheus.CounterVec
}

// durationBuckets are kcp-front-proxy's, in seconds.
var durationBuckets = []float64{0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}

func newRequestMetrics(b *familyBuilder) requestMetrics {
	m := requestMetrics{
		durations: b.histogram("proxy_request_duration_seconds", "Duration of requests, until the end of the response.", durationBuckets, "method", "code"),
		counts: b.counter("front_proxy_requests_total",
			"Completed requests. Code 0: the client disconnected before the response. Shard: the one that holds the cluster in the path; empty for other backends. "+
				"Authenticator: the one that admitted the request; empty if none did.", "code", "verb", "shard", "authenticator"),
		lookups: b.counter("front_proxy_lookups_total", "Lookups of clusters by result.", "result"),
		decisions: b.counter("front_proxy_decisions_total",
			"Requests by the outcome of authentication. Scope, of undecided requests: whether an authenticator of the operator (global) could not decide, or only those of workspaces; else empty.", "outcome", "scope"),
	}
	for _, result := range []string{"found", "mount", "invalid", "unknown", "not_synced", "unavailable", "conflict", "failed"} {
		m.lookups.WithLabelValues(result)
	}
	for _, outcome := range []string{"pass-through", "accepted", "refused"} {
		m.decisions.WithLabelValues(outcome, "")
	}
	for _, scope := range []authn.Scope{authn.Global, authn.Workspace} {
		m.decisions.WithLabelValues("undecided", string(scope))
	}
	return m
}

func (m *requestMetrics) forget(shard string) {
	m.counts.DeletePartialMatch(prometheus.Labels{"shard": shard})
}

// RequestDone counts a request that is over.
func (m *Metrics) RequestDone(r Request) {
	code := codeLabel(r.Code)
	if r.Code != 0 { // as in kcp, where only what was answered counts
		m.requests.durations.WithLabelValues(cmp.Or(methodLabels[r.Method], "unknown"), code).Observe(r.Took.Seconds())
	}
	m.requests.counts.WithLabelValues(code, r.Verb, r.Shard, r.Authenticator).Inc()
}

// Lookup counts a cluster that was looked up: what was found, or an error of package
// lookup or index.
func (m *Metrics) Lookup(t *index.Target, err error) {
	m.requests.lookups.WithLabelValues(lookupResult(t, err)).Inc()
}

// Decided counts a Decision.
func (m *Metrics) Decided(d *authn.Decision) {
	outcome, scope := "refused", ""
	switch {
	case d.PassThrough:
		outcome = "pass-through"
	case d.User != nil:
		outcome = "accepted"
	case d.Status == http.StatusServiceUnavailable:
		outcome, scope = "undecided", string(cmp.Or(d.Undecided, authn.Global))
	}
	m.requests.decisions.WithLabelValues(outcome, scope).Inc()
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

// methodLabels are as kcp has them, which has them from client_golang.
var methodLabels = map[string]string{
	http.MethodGet: "get", http.MethodPut: "put", http.MethodHead: "head", http.MethodPost: "post", http.MethodDelete: "delete",
	http.MethodConnect: "connect", http.MethodOptions: "options", http.MethodTrace: "trace", http.MethodPatch: "patch",
}

// lookupResult is the result of a lookup, as a label.
func lookupResult(t *index.Target, err error) string {
	switch {
	case err == nil && t.Mount != nil:
		return "mount"
	case err == nil:
		return "found"
	case errors.Is(err, index.ErrUnknown):
		return "unknown"
	case errors.Is(err, lookup.ErrNotACluster):
		return "invalid"
	case errors.Is(err, index.ErrNotSynced):
		return "not_synced"
	case errors.Is(err, index.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, index.ErrConflict):
		return "conflict"
	}
	return "failed"
}
