package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"frontproxy/index/shards"
)

// resourceWatchMetrics count lists and watches of shards' resources.
type resourceWatchMetrics struct {
	state, objects           *prometheus.GaugeVec
	lists, failures, skipped *prometheus.CounterVec
}

func newResourceWatchMetrics(b *familyBuilder) resourceWatchMetrics {
	return resourceWatchMetrics{
		state:    b.gauge("front_proxy_resource_watch_state", "State of a list and watch: 1 for its current state. An empty shard is the watch of Shard objects in root.", "shard", "resource", "state"),
		lists:    b.counter("front_proxy_resource_watch_lists_total", "Completed lists; all but the first are relists.", "shard", "resource"),
		objects:  b.gauge("front_proxy_resource_watch_listed_objects", "Objects in the last list.", "shard", "resource"),
		failures: b.counter("front_proxy_resource_watch_failures_total", "Failed lists and watches.", "shard", "resource", "reason"),
		skipped:  b.counter("front_proxy_resource_watch_skipped_objects_total", "Objects that could not be decoded.", "shard", "resource"),
	}
}

func (m *resourceWatchMetrics) forget(shard string) {
	for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{m.state, m.objects, m.lists, m.failures, m.skipped} {
		v.DeletePartialMatch(prometheus.Labels{"shard": shard})
	}
}

// Watches is what a shards.Watcher reports to.
func (m *Metrics) Watches() shards.Metrics { return watchReporter{m} }

// watchReporter implements shards.Metrics.
type watchReporter struct{ m *Metrics }

func (w watchReporter) ResourceWatchState(shard, resource string, s shards.State) {
	for _, state := range []shards.State{shards.Waiting, shards.Syncing, shards.Synced, shards.Failed} {
		value := 0.0
		if state == s {
			value = 1
		}
		w.m.watches.state.WithLabelValues(shard, resource, string(state)).Set(value)
	}
}

func (w watchReporter) Listed(shard, resource string, objects int) {
	w.m.watches.lists.WithLabelValues(shard, resource).Inc()
	w.m.watches.objects.WithLabelValues(shard, resource).Set(float64(objects))
}

func (w watchReporter) ResourceWatchFailed(shard, resource, reason string) {
	w.m.watches.failures.WithLabelValues(shard, resource, reason).Inc()
}

func (w watchReporter) Skipped(shard, resource string) {
	w.m.watches.skipped.WithLabelValues(shard, resource).Inc()
}

// Forget implements shards.Metrics: of a shard that is gone nothing stays.
func (w watchReporter) Forget(shard string) {
	w.m.requests.forget(shard)
	w.m.upstreams.forget(shard)
	w.m.watches.forget(shard)
}
