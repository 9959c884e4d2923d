package metrics

import "github.com/prometheus/client_golang/prometheus"

// ReviewOutcome is what became of a token that a TokenReview is about.
type ReviewOutcome string

// The outcomes of TokenReviews that the proxy was asked for.
const (
	ReviewAccepted  ReviewOutcome = "accepted"
	ReviewRefused   ReviewOutcome = "refused"
	ReviewUndecided ReviewOutcome = "undecided"
	// ReviewOfShard is one that the workspace's shard has answered.
	ReviewOfShard ReviewOutcome = "shard"
	// ReviewForbidden is one that the shard does not let its caller create.
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
