package proxy

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"frontproxy/index/shards"
)

// Feeds is what a shards.Watcher tells how it fares.
func (m *Metrics) Feeds() shards.Metrics { return feedMetrics{m} }

type feedMetrics struct{ m *Metrics }

// FeedState implements shards.Metrics.
func (f feedMetrics) FeedState(shard, resource string, s shards.State) {
	for _, state := range []shards.State{shards.Waiting, shards.Syncing, shards.Synced, shards.Failed} {
		value := 0.0
		if state == s {
			value = 1
		}
		f.m.feedState.WithLabelValues(shard, resource, string(state)).Set(value)
	}
}

// Listed implements shards.Metrics.
func (f feedMetrics) Listed(shard, resource string, objects int) {
	f.m.feedLists.WithLabelValues(shard, resource).Inc()
	f.m.feedObjects.WithLabelValues(shard, resource).Set(float64(objects))
}

// FeedFailed implements shards.Metrics.
func (f feedMetrics) FeedFailed(shard, resource, why string) {
	f.m.feedFailures.WithLabelValues(shard, resource, strings.ReplaceAll(why, " ", "_")).Inc()
}

// Skipped implements shards.Metrics.
func (f feedMetrics) Skipped(shard, resource string) {
	f.m.feedSkipped.WithLabelValues(shard, resource).Inc()
}

// Forget implements shards.Metrics: of a shard that is gone nothing stays.
func (f feedMetrics) Forget(shard string) {
	m, labels := f.m, prometheus.Labels{"shard": shard}
	m.requests.forget(func(k requestKey) bool { return k.shard == shard }, func() { m.requestsVec.DeletePartialMatch(labels) })
	m.traffic.forget(func(k string) bool { return k == shard }, func() {
		m.sentVec.DeletePartialMatch(labels)
		m.receivedVec.DeletePartialMatch(labels)
	})
	for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{
		m.tlsErrors, m.upstreamErrors, m.feedState, m.feedObjects, m.feedLists, m.feedFailures, m.feedSkipped,
	} {
		v.DeletePartialMatch(labels)
	}
}
