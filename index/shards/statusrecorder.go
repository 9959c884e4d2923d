package shards

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
)

// statusRecorder records the progress of a follower, for Status and Metrics.
type statusRecorder struct {
	clock   clock.PassiveClock
	metrics Metrics
	shard   string

	mu     sync.Mutex
	status ResourceWatchStatus
}

func newStatusRecorder(c clock.PassiveClock, m Metrics, shard, resource string) *statusRecorder {
	n := &statusRecorder{clock: c, metrics: m, shard: shard}
	n.status = ResourceWatchStatus{Resource: resource, State: Waiting, Since: metav1.NewTime(c.Now())}
	return n
}

func (n *statusRecorder) get() ResourceWatchStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status
}

// enter reports whether the state is new.
func (n *statusRecorder) enter(s State) bool {
	n.mu.Lock()
	changed := n.status.State != s
	if changed {
		n.status.State, n.status.Since = s, metav1.NewTime(n.clock.Now())
	}
	n.mu.Unlock()
	if changed {
		n.metrics.ResourceWatchState(n.shard, n.status.Resource, s)
	}
	return changed
}

// syncing: a first list begins. Later lists, and tries after a failure, do not change
// the state until they succeed.
func (n *statusRecorder) syncing() {
	if n.get().State == Waiting {
		n.enter(Syncing)
	}
}

func (n *statusRecorder) listed(objects int) {
	n.mu.Lock()
	n.status.Synced, n.status.Objects = true, objects
	n.mu.Unlock()
	n.metrics.Listed(n.shard, n.status.Resource, objects)
}

// changed counts the object of a watch's event.
func (n *statusRecorder) changed(event string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch event {
	case "ADDED":
		n.status.Objects++
	case "DELETED":
		n.status.Objects--
	}
}

func (n *statusRecorder) skipped() { n.metrics.Skipped(n.shard, n.status.Resource) }

func (n *statusRecorder) failed(err error) {
	n.mu.Lock()
	n.status.Error, n.status.ErrorAt = err.Error(), metav1.NewTime(n.clock.Now())
	n.mu.Unlock()
	n.metrics.ResourceWatchFailed(n.shard, n.status.Resource, failureReason(err))
	if !expired(err) {
		n.enter(Failed)
	}
}
