package proxy

import (
	"hash/maphash"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// inFlight bounds the short requests that are under way at a time, and with
// them the memory that they take: Config.MaxInFlight in all, half of that at
// one shard, so that a slow shard leaves room for the others, and an eighth in
// one logical cluster, so that who asks for much there leaves room for other
// tenants. Watches, followed logs and upgrades are not counted, as in
// kube-apiserver.
type inFlight struct {
	most int64 // 0: no bound
	all  atomic.Int64
	// clusters are counted by a hash of their names: counters for each would have
	// to be kept or forgotten. Two that share one share what it allows.
	seed     maphash.Seed
	clusters [4096]atomic.Int64

	mu     sync.RWMutex // guards shards
	shards map[string]*atomic.Int64
}

// shard counts a shard's requests. Shards are few, and none is forgotten.
func (f *inFlight) shard(name string) *atomic.Int64 {
	f.mu.RLock()
	n := f.shards[name]
	f.mu.RUnlock()
	if n != nil {
		return n
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n = f.shards[name]; n == nil {
		n = &atomic.Int64{}
		if f.shards == nil {
			f.shards = map[string]*atomic.Int64{}
		}
		f.shards[name] = n
	}
	return n
}

// taken are the counters that a request is in, for as long as it is under way.
type taken struct{ all, cluster, shard *atomic.Int64 }

// enter takes a place for a request; when there is none, it says so.
func (x *exchange) enter(r *http.Request) *metav1.Status {
	f := &x.p.limit
	if x.lasts = longRunning(r); x.lasts || f.most == 0 {
		return nil
	}
	if f.all.Add(1) > f.most {
		f.all.Add(-1)
		return overloaded("the proxy has")
	}
	x.taken.all = &f.all
	return nil
}

// enterShard takes a place in the logical cluster, and at the shard, that a
// request goes to.
func (x *exchange) enterShard() *metav1.Status {
	if x.taken.all == nil || x.shard() == "" {
		return nil
	}
	f := &x.p.limit
	if cluster := x.target.Cluster; cluster != "" {
		if x.taken.cluster = place(f.cluster(cluster), f.most/8); x.taken.cluster == nil {
			return overloaded("the workspace has")
		}
	}
	if x.taken.shard = place(f.shard(x.shard()), f.most/2); x.taken.shard == nil {
		return overloaded("shard \"" + x.shard() + "\" has")
	}
	return nil
}

// place takes one of most places, at least one; nil: there is none.
func place(n *atomic.Int64, most int64) *atomic.Int64 {
	if n.Add(1) > max(most, 1) {
		n.Add(-1)
		return nil
	}
	return n
}

func (f *inFlight) cluster(name string) *atomic.Int64 {
	return &f.clusters[maphash.String(f.seed, name)%uint64(len(f.clusters))]
}

// leave gives the places back.
func (t *taken) leave() {
	for _, n := range [...]*atomic.Int64{t.all, t.cluster, t.shard} {
		if n != nil {
			n.Add(-1)
		}
	}
}

// longRunning says whether a request may last as long as it likes. Only reads
// do: what asks for a watch otherwise, or to follow anything but logs, gets no
// stream from an API server and is counted.
func longRunning(r *http.Request) bool {
	if _, upgrade := r.Header["Upgrade"]; upgrade {
		return true
	}
	path, query := r.URL.Path, r.URL.RawQuery
	return r.Method == http.MethodGet && (oldWatch(path) || asks(query, "watch") || asks(query, "follow") && strings.HasSuffix(path, "/log"))
}

// overloaded is the answer to a request that found no place.
func overloaded(who string) *metav1.Status {
	s := failure(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "%s too many requests under way, please try again later", who)
	s.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	return s
}
