package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"frontproxy/proxy/ratelimit"
)

// rateMetrics count requests that came too fast.
type rateMetrics struct {
	// refused and counted are by kind of bucket: those that got 429, and those that would
	// have.
	refused, counted [ratelimit.Kinds]prometheus.Counter
}

func newRateMetrics(b *familyBuilder) rateMetrics {
	var m rateMetrics
	vec := b.counter("front_proxy_rate_limited_requests_total",
		"Requests that came faster than the rate of their workspace, identity or client address (bucket) allows. They got 429, or with --rate-limit-dry-run (dry_run true) were served.", "bucket", "dry_run")
	for kind := range ratelimit.Kinds {
		m.refused[kind] = vec.WithLabelValues(kind.String(), strconv.FormatBool(false))
		m.counted[kind] = vec.WithLabelValues(kind.String(), strconv.FormatBool(true))
	}
	return m
}

// RateLimited counts a request that came too fast.
func (m *Metrics) RateLimited(kind ratelimit.Kind, dryRun bool) {
	if dryRun {
		m.rates.counted[kind].Inc()
		return
	}
	m.rates.refused[kind].Inc()
}
