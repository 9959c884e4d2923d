package proxy

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"frontproxy/index/shards"
)

// Watches is what a shards.Watcher tells how it fares.
func (m *Metrics) Watches() shards.Metrics { return resourceWatchMetrics{m} }

type resourceWatchMetrics struct{ m *Metrics }

// ResourceWatchState implements shards.Metrics.
func (f resourceWatchMetrics) ResourceWatchState(shard, resource string, s shards.State) {
	for _, state := range []shards.State{shards.Waiting, shards.Syncing, shards.Synced, shards.Failed} {
		value := 0.0
		if state == s {
			value = 1
		}
		f.m.resourceWatchState.WithLabelValues(shard, resource, string(state)).Set(value)
	}
}

// Listed implements shards.Metrics.
func (f resourceWatchMetrics) Listed(shard, resource string, objects int) {
	f.m.resourceWatchLists.WithLabelValues(shard, resource).Inc()
	f.m.resourceWatchObjects.WithLabelValues(shard, resource).Set(float64(objects))
}

// ResourceWatchFailed implements shards.Metrics.
func (f resourceWatchMetrics) ResourceWatchFailed(shard, resource, why string) {
	f.m.resourceWatchFailures.WithLabelValues(shard, resource, strings.ReplaceAll(why, " ", "_")).Inc()
}

// Skipped implements shards.Metrics.
func (f resourceWatchMetrics) Skipped(shard, resource string) {
	f.m.resourceWatchSkipped.WithLabelValues(shard, resource).Inc()
}

// Forget implements shards.Metrics: of a shard that is gone nothing stays.
func (f resourceWatchMetrics) Forget(shard string) {
	m, labels := f.m, prometheus.Labels{"shard": shard}
	m.requests.forget(func(k requestKey) bool { return k.shard == shard }, func() { m.requestsVec.DeletePartialMatch(labels) })
	m.traffic.forget(func(k string) bool { return k == shard }, func() {
		m.sentVec.DeletePartialMatch(labels)
		m.receivedVec.DeletePartialMatch(labels)
	})
	for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{
		m.tlsErrors, m.upstreamErrors, m.resourceWatchState, m.resourceWatchObjects, m.resourceWatchLists, m.resourceWatchFailures, m.resourceWatchSkipped,
	} {
		v.DeletePartialMatch(labels)
	}
}
