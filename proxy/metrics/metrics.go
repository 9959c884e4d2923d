package metrics

import (
	"net/http"
	"runtime"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"

	"frontproxy/authn/jwt"
	"frontproxy/authn/token"
)

// Metrics are the instruments of one Proxy and what it stands on, in a registry of
// their own. All methods may be called at any time.
type Metrics struct {
	registry *prometheus.Registry
	page     http.Handler
	families []Family

	requests  requestMetrics
	upstreams upstreamMetrics
	watches   resourceWatchMetrics
	proxy     proxyDescs
	sources   sourceDescs
	rates     rateMetrics

	reviews, accountRefusals, oidcRefusals *prometheus.CounterVec
	tokenReviews                           *prometheus.CounterVec
}

// New makes the instruments; version is the program's. They serve one Proxy.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	b := &familyBuilder{registry: m.registry}
	m.requests = newRequestMetrics(b)
	m.upstreams = newUpstreamMetrics(b)
	m.watches = newResourceWatchMetrics(b)
	m.proxy = newProxyDescs(b)
	m.sources = newSourceDescs(b)
	m.rates = newRateMetrics(b)
	m.reviews = b.counter("front_proxy_access_reviews_total", "SubjectAccessReviews sent to root for readers of the proxy's own pages.", "result")
	for _, result := range []string{"answered", "failed"} {
		m.reviews.WithLabelValues(result)
	}
	m.tokenReviews = newTokenReviewMetric(b)
	m.accountRefusals = b.counter("front_proxy_service_account_refusals_total", "Refused service account tokens.", "reason")
	m.oidcRefusals = b.counter("front_proxy_oidc_refusals_total", "Refused tokens of the operator's OIDC issuers; those of workspaces' issuers are not counted here.", "reason")
	for _, reason := range jwt.Reasons() {
		m.oidcRefusals.WithLabelValues(string(reason))
	}
	info := b.gauge("front_proxy_build_info", "The version of front-proxy; always 1.", "version", "go_version")
	info.WithLabelValues(version, runtime.Version()).Set(1)
	m.families = b.families
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.page = promhttp.HandlerFor(prometheus.Gatherers{m.registry, auditMetrics{}}, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	return m
}

// ServeHTTP serves the page /metrics. The caller must have authorized the reader.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.page.ServeHTTP(w, r) }

// Gather implements prometheus.Gatherer, without apiserver's own metrics.
func (m *Metrics) Gather() ([]*dto.MetricFamily, error) { return m.registry.Gather() }

// AccessReview counts a SubjectAccessReview that was sent to root; err is why there was
// no answer.
func (m *Metrics) AccessReview(err error) {
	result := "answered"
	if err != nil {
		result = "failed"
	}
	m.reviews.WithLabelValues(result).Inc()
}

// ServiceAccountRefused counts a service account's token that was refused.
func (m *Metrics) ServiceAccountRefused(reason token.Reason) {
	m.accountRefusals.WithLabelValues(string(reason)).Inc()
}

// OIDCTokenRefused counts a token of one of the operator's OIDC issuers that was refused.
func (m *Metrics) OIDCTokenRefused(reason token.Reason) {
	m.oidcRefusals.WithLabelValues(string(reason)).Inc()
}

// auditMetrics are what apiserver's audit counts by itself, in the registry
// that all of Kubernetes' libraries share; the rest of that is left out.
type auditMetrics struct{}

func (auditMetrics) Gather() ([]*dto.MetricFamily, error) {
	all, err := legacyregistry.DefaultGatherer.Gather()
	return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), "apiserver_audit_") }), err
}
