package metrics

import "github.com/prometheus/client_golang/prometheus"

// ReviewOutcome is how a TokenReview was decided.
type ReviewOutcome string

// The outcomes of TokenReviews that the proxy was asked for.
const (
	ReviewAccepted  ReviewOutcome = "accepted"
	ReviewRefused   ReviewOutcome = "refused"
	ReviewUndecided ReviewOutcome = "undecided"
	// ReviewOfShard: the workspace's shard has answered it.
	ReviewOfShard ReviewOutcome = "shard"
	// ReviewForbidden: the shard does not let the caller create it.
	ReviewForbidden ReviewOutcome = "forbidden"
)

func newTokenReviewMetric(b *familyBuilder) *prometheus.CounterVec {
	vec := b.counter("front_proxy_token_reviews_total",
		"TokenReviews in workspaces by what became of the token (gate WorkspaceTokenReviews). Shard: the workspace's shard has answered; forbidden: it does not let the caller create TokenReviews.", "outcome")
	for _, outcome := range []ReviewOutcome{ReviewAccepted, ReviewRefused, ReviewUndecided, ReviewOfShard, ReviewForbidden} {
		vec.WithLabelValues(string(outcome))
	}
	return vec
}

// TokenReviewed counts a TokenReview.
func (m *Metrics) TokenReviewed(outcome ReviewOutcome) {
	m.tokenReviews.WithLabelValues(string(outcome)).Inc()
}
