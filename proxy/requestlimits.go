package proxy

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
)

// requestLimits bounds the requests that run at a time, and the memory of all requests and open
// streams (memorybudget.go says when a request runs). Config.MaxInFlight may run in all, half of
// that at one shard or mapped backend, so that a slow one leaves room for the others, and
// an eighth in one logical cluster, so that one tenant's users leave room for others.
// Long-running requests, and upgrades after their 101, are not counted, as in kube-apiserver.
type requestLimits struct {
	most int64 // 0: no bound
	all  atomic.Int64
	// clusters has the counters of logical clusters, by a hash of the name, because
	// counters by name would pile up. Clusters with the same hash share a limit.
	seed     maphash.Seed
	clusters [4096]atomic.Int64
	shards   sync.Map // of *atomic.Int64, by name

	// requests is the memory budget of requests; streamStarts is the budget of long-running
	// requests until their stream begins. They are separate, so that many watches that
	// reconnect at once are not refused because of other requests, and do not take their
	// room. openStreams is the budget of streams as long as they last.
	requests, streamStarts, openStreams memoryBudget
}

// init: most is Config.MaxInFlight; 0: no bound. memory is that of Proxy.SetMemory.
func (l *requestLimits) init(most int, memory int64) {
	l.most, l.seed = int64(most), maphash.MakeSeed()
	l.requests.seed, l.streamStarts.seed, l.openStreams.seed = l.seed, l.seed, l.seed
	l.setMemory(memory)
}

// setMemory sets the limits of the three budgets from most and memory, which is in bytes. Open
// streams are bounded by memory only.
func (l *requestLimits) setMemory(memory int64) {
	l.requests.limit.Store(max(min(l.most*budgetPerRequest, memory/requestsDivisor), minBudget))
	l.streamStarts.limit.Store(max(min(l.most*budgetPerStreamStart, memory/streamStartsDivisor), minBudget))
	l.openStreams.limit.Store(max(memory/openStreamsDivisor, minBudget))
}

// shard counts the requests of a shard, or, by its path, of a mapping's backend.
// They are few, and none is forgotten.
func (l *requestLimits) shard(name string) *atomic.Int64 {
	n, ok := l.shards.Load(name)
	if !ok {
		n, _ = l.shards.LoadOrStore(name, &atomic.Int64{})
	}
	return n.(*atomic.Int64) //nolint:forcetypeassert // nothing else is in it
}

func (l *requestLimits) cluster(name string) *atomic.Int64 {
	return &l.clusters[maphash.String(l.seed, name)%uint64(len(l.clusters))]
}

// places has the counters in which one running request is counted; any may be nil.
type places struct{ all, cluster, shard *atomic.Int64 }

func (p *places) add(n int64) {
	for _, c := range [...]*atomic.Int64{p.all, p.cluster, p.shard} {
		if c != nil {
			c.Add(n)
		}
	}
}

// takePlace takes one of max(most, 1) places of n; nil: all are taken.
func takePlace(n *atomic.Int64, most int64) *atomic.Int64 {
	if n.Add(1) > max(most, 1) {
		n.Add(-1)
		return nil
	}
	return n
}

// takePlaces takes the places of a request to d. A non-nil Status (429) says which of the
// limits is reached; p then has the places already taken, which must be given back.
func (l *requestLimits) takePlaces(d *destination.Destination) (p places, status *metav1.Status) {
	if p.all = takePlace(&l.all, l.most); p.all == nil {
		return p, apistatus.TooManyRequests("the proxy has")
	}
	if cluster := d.Target.Cluster; cluster != "" {
		if p.cluster = takePlace(l.cluster(cluster), l.most/8); p.cluster == nil {
			return p, apistatus.TooManyRequests("the workspace has")
		}
	}
	to := d.Shard
	if to == "" {
		to = d.Pattern // which begins with a slash, and no shard's name does
	}
	if p.shard = takePlace(l.shard(to), l.most/2); p.shard == nil {
		return p, apistatus.TooManyRequests(d.Name() + " has")
	}
	return p, nil
}
