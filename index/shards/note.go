package shards

import (
	"sync"

	"k8s.io/utils/clock"
)

// note is where a follower writes down how it fares.
type note struct {
	clock   clock.PassiveClock
	metrics Metrics
	shard   string

	mu     sync.Mutex
	status FeedStatus
}

func newNote(c clock.PassiveClock, m Metrics, shard, resource string) *note {
	n := &note{clock: c, metrics: m, shard: shard}
	n.status = FeedStatus{Resource: resource, State: Waiting, Since: c.Now()}
	return n
}

func (n *note) get() FeedStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status
}

// enter says whether the state is a new one.
func (n *note) enter(s State) bool {
	n.mu.Lock()
	changed := n.status.State != s
	if changed {
		n.status.State, n.status.Since = s, n.clock.Now()
	}
	n.mu.Unlock()
	if changed {
		n.metrics.FeedState(n.shard, n.status.Resource, s)
	}
	return changed
}

// syncing: a first list begins. Later ones, and tries after a failure, leave
// the state as it is until they succeed.
func (n *note) syncing() {
	if n.get().State == Waiting {
		n.enter(Syncing)
	}
}

func (n *note) listed(objects int) {
	n.mu.Lock()
	n.status.Synced, n.status.Objects = true, objects
	n.mu.Unlock()
	n.metrics.Listed(n.shard, n.status.Resource, objects)
}

// synced says that the watch is open, and returns whether that is news.
func (n *note) synced() bool { return n.enter(Synced) }

func (n *note) skipped() { n.metrics.Skipped(n.shard, n.status.Resource) }

func (n *note) failed(err error) {
	n.mu.Lock()
	n.status.Error, n.status.ErrorAt = err.Error(), n.clock.Now()
	n.mu.Unlock()
	n.metrics.FeedFailed(n.shard, n.status.Resource, why(err))
	if !expired(err) {
		n.enter(Failed)
	}
}
