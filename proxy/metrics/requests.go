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
	// Code is that of the response; 0: the client disconnected before there was one.
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
	durations *counterCache[durationKey, prometheus.Observer]
	counts    *counterCache[requestKey, prometheus.Counter]
	vec       *prometheus.CounterVec // of counts
	lookups   [lookupResults]prometheus.Counter
	decisions [authn.Undecided]prometheus.Counter // by authn.Outcome, without Undecided
	undecided map[authn.Scope]prometheus.Counter
}

// durationKey and requestKey are label sets.
type (
	durationKey struct{ method, code string }
	requestKey  struct {
		code                 string
		verb                 string
		shard, authenticator string
	}
)

// durationBuckets are kcp-front-proxy's, in seconds.
var durationBuckets = []float64{0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}

func newRequestMetrics(b *familyBuilder) requestMetrics {
	var m requestMetrics
	durations := b.histogram("proxy_request_duration_seconds", "Duration of requests, until the end of the response.", durationBuckets, "method", "code")
	m.durations = newCounterCache(func(k durationKey) prometheus.Observer { return durations.WithLabelValues(k.method, k.code) })
	vec := b.counter("front_proxy_requests_total",
		"Completed requests. Code 0: the client disconnected before the response. Shard: the one that holds the cluster in the path; empty for other backends. "+
			"Authenticator: the one that admitted the request; empty if none did.", "code", "verb", "shard", "authenticator")
	m.vec = vec
	m.counts = newCounterCache(func(k requestKey) prometheus.Counter {
		return vec.WithLabelValues(k.code, k.verb, k.shard, k.authenticator)
	})
	lookups := b.counter("front_proxy_lookups_total", "Lookups of clusters by result.", "result")
	for r := range lookupResults {
		m.lookups[r] = lookups.WithLabelValues(r.String())
	}
	decisions := b.counter("front_proxy_decisions_total",
		"Requests by the outcome of authentication. Scope, of undecided requests: whether an authenticator of the operator (global) could not decide, or only those of workspaces; else empty.", "outcome", "scope")
	for o, name := range map[authn.Outcome]string{authn.Skipped: "pass-through", authn.Accepted: "accepted", authn.Refused: "refused"} {
		m.decisions[o] = decisions.WithLabelValues(name, "")
	}
	m.undecided = map[authn.Scope]prometheus.Counter{}
	for _, scope := range []authn.Scope{authn.Global, authn.Workspace} {
		m.undecided[scope] = decisions.WithLabelValues("undecided", string(scope))
	}
	return m
}

func (m *requestMetrics) forget(shard string) {
	m.counts.forget(func(k requestKey) bool { return k.shard == shard }, func() { m.vec.DeletePartialMatch(prometheus.Labels{"shard": shard}) })
}

// RequestDone counts a request that is over.
func (m *Metrics) RequestDone(r Request) {
	code := codeLabel(r.Code)
	if r.Code != 0 { // as in kcp, where only what was answered counts
		m.requests.durations.get(durationKey{methodLabel(r.Method), code}).Observe(r.Took.Seconds())
	}
	m.requests.counts.get(requestKey{code, r.Verb, r.Shard, r.Authenticator}).Inc()
}

// Lookup counts a cluster that was looked up: what was found, or an error of package
// lookup or index.
func (m *Metrics) Lookup(t *index.Target, err error) { m.requests.lookups[resultOf(t, err)].Inc() }

// Decided counts a Decision.
func (m *Metrics) Decided(d *authn.Decision) {
	outcome := authn.Refused
	switch {
	case d.PassThrough:
		outcome = authn.Skipped
	case d.User != nil:
		outcome = authn.Accepted
	case d.Status == http.StatusServiceUnavailable:
		m.requests.undecided[cmp.Or(d.Undecided, authn.Global)].Inc()
		return
	}
	m.requests.decisions[outcome].Inc()
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
