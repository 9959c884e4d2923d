package shards

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	clocktesting "k8s.io/utils/clock/testing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// item is a slim type of the tests.
type item struct {
	Metadata Meta `json:"metadata"`
	Spec     struct {
		Value string `json:"value"`
	} `json:"spec"`
}

func (i *item) Version() string { return i.Metadata.ResourceVersion }

func (i *item) key() string { return i.Metadata.Annotations.Cluster + "/" + i.Metadata.Name }

// pulse wakes those who wait for a condition whenever something happened.
type pulse struct {
	mu sync.Mutex
	ch chan struct{}
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ch != nil {
		close(p.ch)
		p.ch = nil
	}
}

func (p *pulse) next() chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ch == nil {
		p.ch = make(chan struct{})
	}
	return p.ch
}

// recorder is a table, the Registry and the Metrics of a test's Watcher.
type recorder struct {
	pulse
	mu       sync.Mutex
	contents map[string]map[string]string // "shard resource" → key → value
	seen     map[string]map[string]bool   // in the list under way
	shards   map[string]string
	listed   int
	counts   map[string]int
}

func newRecorder() *recorder {
	return &recorder{
		contents: map[string]map[string]string{}, seen: map[string]map[string]bool{},
		shards: map[string]string{}, counts: map[string]int{},
	}
}

func (r *recorder) do(f func()) {
	r.mu.Lock()
	f()
	r.mu.Unlock()
	r.beat()
}

type recorderTable struct {
	r    *recorder
	name string
}

func (r *recorder) table(resource string) func(string) Table {
	return func(shard string) Table {
		t := &recorderTable{r, shard + " " + resource}
		r.do(func() { r.contents[t.name] = map[string]string{} })
		return t
	}
}

func (t *recorderTable) Begin() { t.r.do(func() { t.r.seen[t.name] = map[string]bool{} }) }

func (t *recorderTable) Upsert(o Object) {
	i := o.(*item)
	t.r.do(func() {
		t.r.contents[t.name][i.key()] = i.Spec.Value
		if t.r.seen[t.name] != nil {
			t.r.seen[t.name][i.key()] = true
		}
	})
}

func (t *recorderTable) Delete(o Object) {
	t.r.do(func() { delete(t.r.contents[t.name], o.(*item).key()) })
}

func (t *recorderTable) End(string) {
	t.r.do(func() {
		for k := range t.r.contents[t.name] {
			if !t.r.seen[t.name][k] {
				delete(t.r.contents[t.name], k)
			}
		}
		t.r.seen[t.name] = nil
	})
}

func (r *recorder) SetShard(name string, s *Shard) {
	r.do(func() {
		r.shards[name] = "unusable"
		if s != nil {
			r.shards[name] = s.BaseURL.String()
		}
	})
}

func (r *recorder) RemoveShard(name string) { r.do(func() { delete(r.shards, name) }) }
func (r *recorder) ShardsListed()           { r.do(func() { r.listed++ }) }

func (r *recorder) ResourceWatchState(shard, resource string, s State) {
	r.do(func() { r.counts[fmt.Sprintf("%s %s %s", shard, resource, s)]++ })
}

func (r *recorder) Listed(shard, resource string, n int) {
	r.do(func() { r.counts[fmt.Sprintf("%s %s listed", shard, resource)]++ })
}

func (r *recorder) ResourceWatchFailed(shard, resource, why string) {
	r.do(func() { r.counts[fmt.Sprintf("%s %s failed: %s", shard, resource, why)]++ })
}

func (r *recorder) Skipped(shard, resource string) {
	r.do(func() { r.counts[fmt.Sprintf("%s %s skipped", shard, resource)]++ })
}

func (r *recorder) Forget(shard string) { r.do(func() { r.counts[shard+" forgotten"]++ }) }

func (r *recorder) count(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[what]
}

// rig is a running Watcher over stand-ins.
type rig struct {
	t     *testing.T
	root  *standIn
	rec   *recorder
	clock *clocktesting.FakePassiveClock
	*Watcher
	timeout time.Duration
	quiet   time.Duration
	peers   []*rest.Config
	stop    func()
}

func (r *rig) config() Config {
	return Config{
		Root: r.root.config(), Shards: r.root.config(), Peers: r.peers,
		Watches: []ResourceWatch{{
			Resource: schema.GroupVersionResource{Group: "core.kcp.io", Version: "v1alpha1", Resource: "logicalclusters"},
			New:      func() Object { return &item{} },
			Table:    r.rec.table("lc"),
		}, {
			Resource: schema.GroupVersionResource{Group: "tenancy.kcp.io", Version: "v1alpha1", Resource: "workspaces"},
			Identity: "tenancy.kcp.io",
			New:      func() Object { return &item{} },
			Table:    r.rec.table("ws"),
		}},
		Registry: r.rec, Metrics: r.rec, Clock: r.clock,
		Backoff:         Backoff{First: time.Millisecond, Max: 5 * time.Millisecond},
		ListIdleTimeout: 300 * time.Millisecond, Timeout: r.timeout, WatchIdleTimeout: r.quiet,
	}
}

// newRig runs a Watcher whose root has the given stand-ins as shards s0, s1…;
// without any, root itself is shard s0.
func newRig(t *testing.T, shards ...*standIn) *rig {
	t.Helper()
	r := &rig{t: t, root: newStandIn(t, ""), rec: newRecorder(), clock: clocktesting.NewFakePassiveClock(time.Unix(1000, 0))}
	if len(shards) == 0 {
		shards = []*standIn{r.root}
	}
	for i, s := range shards {
		r.root.shard(fmt.Sprintf("s%d", i), s.url())
	}
	return r
}

func (r *rig) run() *rig {
	r.t.Helper()
	w, err := New(r.config())
	if err != nil {
		r.t.Fatal(err)
	}
	r.Watcher = w
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	r.t.Cleanup(r.stop)
	return r
}

// until waits for a condition, which it checks whenever something happened.
func (r *rig) until(what string, cond func() bool) {
	r.t.Helper()
	late := time.After(20 * time.Second)
	for {
		next := r.rec.next()
		if cond() {
			return
		}
		select {
		case <-next:
		case <-late:
			r.t.Fatalf("never: %s\nstatus: %+v\nrecorded: %+v", what, r.Status(), r.rec.counts)
		}
	}
}

// holds waits until a table has exactly the given contents.
func (r *rig) holds(table string, want map[string]string) {
	r.t.Helper()
	r.until(fmt.Sprintf("%s holds %v", table, want), func() bool {
		r.rec.mu.Lock()
		defer r.rec.mu.Unlock()
		return maps.Equal(r.rec.contents[table], want)
	})
}

func (r *rig) synced() {
	r.t.Helper()
	r.until("all synced", func() bool {
		s := r.Status()
		for _, sh := range s.Shards {
			if sh.State != Synced || !sh.Synced {
				return false
			}
		}
		return s.Root.Synced && len(s.Shards) > 0
	})
}

const ws1 = wsPath + "hash1"

func value(v string) string { return fmt.Sprintf(`{"value":%q,"Value":"no","unknown":{"x":[1]}}`, v) }

// TestFollow lists and watches in each way a server may offer.
func TestFollow(t *testing.T) {
	tests := []struct {
		name      string
		with      func(*standIn)
		wantPages bool
	}{
		{name: "streamed list"},
		{name: "streamed list refused", with: func(s *standIn) { s.refuse = true }, wantPages: true},
		{name: "streamed list never ends", with: func(s *standIn) { s.silent = true }, wantPages: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shard := newStandIn(t, "/some/prefix")
			want := map[string]string{}
			for i := range 1100 {
				shard.put(ws1, fmt.Sprintf("c%d", i), "a", value("1"))
				want[fmt.Sprintf("c%d/a", i)] = "1"
			}
			if tt.with != nil {
				tt.with(shard)
			}
			r := newRig(t, shard).run()
			r.holds("s0 ws", want)
			r.synced()
			shard.put(ws1, "c1", "a", value("2"))
			shard.put(ws1, "new", "b", value("3"))
			shard.remove(ws1, "c2", "a")
			want["c1/a"], want["new/b"] = "2", "3"
			delete(want, "c2/a")
			r.holds("s0 ws", want)
			// A server that once kept silent is not asked to stream again.
			streams := shard.count("workspaces:hash1?allowWatchBookmarks=true&resourceVersionMatch=")
			shard.with(func() { shard.inStream = true; delete(shard.objects[ws1], "c3/a") })
			delete(want, "c3/a")
			shard.expire()
			r.holds("s0 ws", want)
			again := shard.count("workspaces:hash1?allowWatchBookmarks=true&resourceVersionMatch=") > streams
			if shard.silent == again {
				t.Errorf("asked for a streamed list again: %v", again)
			}
			pages := shard.count("workspaces:hash1?continue=")
			if got := pages > 0; got != tt.wantPages {
				t.Errorf("%d pages were asked for, want some: %v", pages, tt.wantPages)
			}
			if n := shard.count("/some/prefix/clusters/*/apis/"); n == 0 {
				t.Error("no request had the base URL's path and a literal *")
			}
		})
	}
}

func TestExpired(t *testing.T) {
	for _, inStream := range []bool{false, true} {
		t.Run(fmt.Sprintf("in stream: %v", inStream), func(t *testing.T) {
			shard := newStandIn(t, "")
			shard.put(lcPath, "c1", "cluster", value("1"))
			shard.put(lcPath, "c2", "cluster", value("1"))
			r := newRig(t, shard).run()
			r.synced()
			shard.with(func() { shard.inStream = inStream; delete(shard.objects[lcPath], "c1/cluster") })
			shard.expire()
			if !inStream {
				shard.CloseClientConnections()
			}
			r.holds("s0 lc", map[string]string{"c2/cluster": "1"})
			shard.put(lcPath, "c3", "cluster", value("1"))
			r.holds("s0 lc", map[string]string{"c2/cluster": "1", "c3/cluster": "1"})
			if r.rec.count("s0 logicalclusters.core.kcp.io failed: expired") == 0 {
				t.Error("expiry was not counted")
			}
		})
	}
}

// TestIdentity: the hash changes, and v1alpha2 is not served.
func TestIdentity(t *testing.T) {
	shard := newStandIn(t, "")
	r := newRig(t, shard)
	r.root.with(func() {
		r.root.exports = map[string]string{"v1alpha1/tenancy.kcp.io": "hash1"}
	})
	shard.put(ws1, "c", "old", value("1"))
	r.run()
	r.holds("s0 ws", map[string]string{"c/old": "1"})
	r.synced()
	shard.put(wsPath+"hash2", "c", "new", value("2"))
	r.root.with(func() { r.root.exports["v1alpha1/tenancy.kcp.io"] = "hash2" })
	shard.with(func() { delete(shard.objects, ws1) })
	shard.CloseClientConnections()
	r.holds("s0 ws", map[string]string{"c/new": "2"})
	r.synced()
	if n := shard.count("workspaces?"); n != 0 {
		t.Errorf("%d requests were sent without an identity", n)
	}
}

func TestNoIdentityYet(t *testing.T) {
	r := newRig(t)
	r.root.with(func() { r.root.exports = map[string]string{} })
	r.run()
	r.until("the watch fails", func() bool { return r.rec.count("s0 workspaces.tenancy.kcp.io failed: not_found") > 1 })
	if s := r.Status().Shards[0]; s.State != Failed || s.Synced || !strings.Contains(s.Watches[1].Error, `APIExport "tenancy.kcp.io"`) {
		t.Errorf("status: %+v", s)
	}
	r.root.with(func() { r.root.exports["v1alpha2/tenancy.kcp.io"] = "hash1" })
	r.synced()
}

// TestConnectionLost: the watch goes on where it was; nothing is listed anew
// and nothing forgotten.
func TestConnectionLost(t *testing.T) {
	shard := newStandIn(t, "")
	shard.put(lcPath, "c1", "cluster", value("1"))
	r := newRig(t, shard).run()
	r.synced()
	for i := range 5 {
		shard.CloseClientConnections()
		shard.put(lcPath, "c1", "cluster", value(fmt.Sprint("v", i)))
		r.holds("s0 lc", map[string]string{"c1/cluster": fmt.Sprint("v", i)})
	}
	if n := r.rec.count("s0 logicalclusters.core.kcp.io listed"); n != 1 {
		t.Errorf("listed %d times, want once", n)
	}
}

// TestStatusCountsObjects: those of the list, and what the watch tells afterwards.
func TestStatusCountsObjects(t *testing.T) {
	shard := newStandIn(t, "")
	for i := range 3 {
		shard.put(lcPath, fmt.Sprint("c", i), "cluster", value("1"))
	}
	r := newRig(t, shard).run()
	r.synced()
	objects := func() int {
		for _, w := range r.Status().Shards[0].Watches {
			if w.Resource == "logicalclusters.core.kcp.io" {
				return w.Objects
			}
		}
		return -1
	}
	r.until("the list is counted", func() bool { return objects() == 3 })
	shard.put(lcPath, "c3", "cluster", value("1"))
	shard.put(lcPath, "c4", "cluster", value("1"))
	r.until("new objects are counted", func() bool { return objects() == 5 })
	shard.put(lcPath, "c3", "cluster", value("2"))
	shard.remove(lcPath, "c0", "cluster")
	r.until("a deleted one is not, and a changed one once", func() bool { return objects() == 4 })
}

// TestFailingSince: a shard fails when it responds to none of its watches.
func TestFailingSince(t *testing.T) {
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	for name, tt := range map[string]struct {
		status ShardStatus
		want   time.Time
	}{
		"all fail":                  {ShardStatus{State: Failed, Since: metav1.Unix(3, 0), Watches: []ResourceWatchStatus{{State: Failed, Since: metav1.Unix(3, 0)}, {State: Failed, Since: metav1.Unix(5, 0)}}}, at(5)},
		"one fails":                 {ShardStatus{State: Failed, Since: metav1.Unix(3, 0), Watches: []ResourceWatchStatus{{State: Failed, Since: metav1.Unix(3, 0)}, {State: Synced, Since: metav1.Unix(1, 0)}}}, time.Time{}},
		"one fails, one has begun":  {ShardStatus{State: Failed, Since: metav1.Unix(3, 0), Watches: []ResourceWatchStatus{{State: Syncing, Since: metav1.Unix(9, 0)}, {State: Failed, Since: metav1.Unix(3, 0)}}}, at(3)},
		"none has been tried":       {ShardStatus{State: Waiting, Watches: []ResourceWatchStatus{{State: Waiting, Since: metav1.Unix(1, 0)}}}, time.Time{}},
		"all respond":               {ShardStatus{State: Synced, Since: metav1.Unix(3, 0), Watches: []ResourceWatchStatus{{State: Synced, Since: metav1.Unix(3, 0)}}}, time.Time{}},
		"an address without a host": {ShardStatus{State: Failed, Since: metav1.Unix(3, 0), Reason: "x"}, at(3)},
	} {
		t.Run(name, func(t *testing.T) {
			if got := failingSince(&tt.status); !got.Equal(tt.want) {
				t.Errorf("failing since %v, want %v", got, tt.want)
			}
		})
	}
}

// TestOtherContents: a server comes back at the same address with new storage.
func TestOtherContents(t *testing.T) {
	shard := newStandIn(t, "")
	for i := range 50 {
		shard.put(lcPath, fmt.Sprint("c", i), "cluster", value("1"))
	}
	r := newRig(t, shard).run()
	r.synced()
	addr := shard.Listener.Addr().String()
	shard.CloseClientConnections()
	shard.Close()
	r.until("the watches fail", func() bool { return !r.FailingSince("s0").IsZero() })
	if s := r.Status().Shards[0]; s.State != Failed || r.FailingSince(s.Name) != s.Since.Time || s.Since.IsZero() || !r.FailingSince("other").IsZero() {
		t.Errorf("failing since %v, and one that there is not since %v, want %v", r.FailingSince(s.Name), r.FailingSince("other"), s.Since)
	}
	if s := r.Status().Shards[0]; !s.Synced {
		t.Errorf("a lost shard counts as never read: %+v", s)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	fresh := &standIn{
		version: 3, objects: map[string]map[string]stored{lcPath: {}, ws1: {}}, changed: make(chan struct{}),
	}
	fresh.put(lcPath, "fresh", "cluster", value("2"))
	fresh.start(t, l)
	r.holds("s0 lc", map[string]string{"fresh/cluster": "2"})
	r.synced()
}

// TestAddressChange: old contents stay until the new address's list replaces
// them; a change that matters to nobody restarts nothing.
func TestAddressChange(t *testing.T) {
	old, next := newStandIn(t, ""), newStandIn(t, "/next")
	old.put(lcPath, "c1", "cluster", value("old"))
	next.put(lcPath, "c2", "cluster", value("new"))
	gate := make(chan struct{})
	next.gate = gate
	r := newRig(t, old).run()
	r.synced()
	r.root.put(shardPath, "root", "s0", fmt.Sprintf(`{"baseURL":%q,"externalURL":"https://out.example"}`, old.url()+"/"))
	r.until("seen", func() bool { return r.rec.count("s0 logicalclusters.core.kcp.io listed") == 1 })
	r.root.shard("s0", next.url())
	r.until("the new address is known", func() bool {
		r.rec.mu.Lock()
		defer r.rec.mu.Unlock()
		return r.rec.shards["s0"] == next.url()
	})
	r.holds("s0 lc", map[string]string{"c1/cluster": "old"})
	close(gate)
	r.holds("s0 lc", map[string]string{"c2/cluster": "new"})
	old.put(lcPath, "c3", "cluster", value("late"))
	next.put(lcPath, "c4", "cluster", value("new"))
	r.holds("s0 lc", map[string]string{"c2/cluster": "new", "c4/cluster": "new"})
}

func TestShardRemovedAndBack(t *testing.T) {
	one, two := newStandIn(t, ""), newStandIn(t, "")
	one.put(lcPath, "c1", "cluster", value("1"))
	two.put(lcPath, "c2", "cluster", value("2"))
	r := newRig(t, one, two).run()
	r.synced()
	r.root.remove(shardPath, "root", "s1")
	r.until("s1 is forgotten", func() bool { return r.rec.count("s1 forgotten") == 1 })
	r.holds("s1 lc", map[string]string{})
	r.holds("s0 lc", map[string]string{"c1/cluster": "1"})
	if s := r.Status(); len(s.Shards) != 1 {
		t.Errorf("status: %+v", s)
	}
	two.remove(lcPath, "c2", "cluster")
	two.put(lcPath, "c3", "cluster", value("3"))
	r.root.shard("s1", two.url())
	r.holds("s1 lc", map[string]string{"c3/cluster": "3"})

	// Removed while root's watch was away: seen by the list.
	r.root.with(func() { delete(r.root.objects[shardPath], "root/s1") })
	r.root.expire()
	r.root.CloseClientConnections()
	r.until("s1 is forgotten again", func() bool { return r.rec.count("s1 forgotten") == 2 })
}

func TestUnusableAddress(t *testing.T) {
	r := newRig(t)
	r.root.shard("bad", "http://plain.example")
	r.run()
	r.until("the index knows of it", func() bool {
		r.rec.mu.Lock()
		defer r.rec.mu.Unlock()
		return r.rec.shards["bad"] == "unusable"
	})
	r.until("both are listed", func() bool { return len(r.Status().Shards) == 2 && r.Status().Shards[1].State == Synced })
	bad := r.Status().Shards[0]
	want := ShardStatus{
		Name: "bad", State: Failed, Since: metav1.Unix(1000, 0),
		Reason: `spec.baseURL of Shard "bad": "http://plain.example" does not begin with https://`,
	}
	if diff := cmp.Diff(want, bad); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	r.root.shard("bad", r.root.url())
	r.synced()

	// A good address that becomes unusable is kept, and complained about.
	r.root.shard("bad", "")
	r.until("a reason", func() bool { r.rec.beat(); return r.Status().Shards[0].Reason != "" })
	r.root.put(lcPath, "c1", "cluster", value("1"))
	r.holds("bad lc", map[string]string{"c1/cluster": "1"})
}

// TestOneShardDown: what /readyz is told of a shard that was never read, and
// that neither it nor a lost root holds up the others.
func TestOneShardDown(t *testing.T) {
	down := newStandIn(t, "")
	r := newRig(t)
	r.root.shard("s1", down.url())
	down.listError = 500
	down.refuse = true
	r.run()
	r.until("s1 fails and s0 has synced", func() bool {
		s := r.Status()
		return len(s.Shards) == 2 && s.Shards[0].State == Synced && s.Shards[1].State == Failed &&
			s.Shards[1].Watches[0].State == Failed
	})
	if s := r.Status(); !s.Root.Synced || s.Shards[1].Synced {
		t.Errorf("a shard that was never read: %+v", s)
	}
	// Root goes away: everything else goes on.
	r.root.with(func() { r.root.listError = 500; delete(r.root.objects, shardPath) })
	r.root.CloseClientConnections()
	r.until("root fails", func() bool { return r.Status().Root.State == Failed })
	down.with(func() { down.listError = 0 })
	r.until("s1 recovers", func() bool { return r.Status().Shards[1].State == Synced })
	if s := r.Status(); !s.Root.Synced || s.Shards[1].Watches[0].Error == "" {
		t.Errorf("status after recovery: %+v", s)
	}
}

func TestSkipsWhatDoesNotDecode(t *testing.T) {
	r := newRig(t)
	r.root.put(lcPath, "c1", "cluster", `{"value":{"not":"a string"}}`)
	r.root.put(lcPath, "c2", "cluster", value("1"))
	r.run()
	r.holds("s0 lc", map[string]string{"c2/cluster": "1"})
	r.until("counted", func() bool { return r.rec.count("s0 logicalclusters.core.kcp.io skipped") == 1 })
}

// TestStopsPromptly: no goroutine waits for a server that does not answer.
func TestStopsPromptly(t *testing.T) {
	stuck := newStandIn(t, "")
	stuck.gate = make(chan struct{})
	r := newRig(t, stuck).run()
	r.until("the watches started", func() bool { return r.rec.count("s0 logicalclusters.core.kcp.io syncing") == 1 })
	r.stop()
}

// TestLateAnswer: a server that takes connections and never answers has failed.
func TestLateAnswer(t *testing.T) {
	stuck := newStandIn(t, "")
	r := newRig(t, stuck)
	gate := make(chan struct{})
	stuck.gate = gate
	r.timeout = 100 * time.Millisecond
	r.run()
	r.until("s0 fails", func() bool {
		s := r.Status().Shards
		return len(s) == 1 && s[0].State == Failed && strings.Contains(s[0].Watches[0].Error, "no response within 100ms")
	})
	close(gate)
	r.synced()
}

func TestNew(t *testing.T) {
	ok := &rest.Config{Host: "https://127.0.0.1:1/clusters/root/", TLSClientConfig: rest.TLSClientConfig{CAFile: "/not/there"}}
	tests := []struct {
		name, want string
		cfg        Config
	}{
		{name: "empty", want: "needs Root and Shards"},
		{name: "root's address", cfg: Config{Root: &rest.Config{Host: "https://%"}, Shards: ok}, want: `root kubeconfig: server "https://%"`},
		{name: "watch", cfg: Config{Root: ok, Shards: ok, Watches: []ResourceWatch{{}}}, want: "incomplete"},
		{name: "no I/O", cfg: Config{Root: ok, Shards: ok}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, err := New(tt.cfg)
			switch {
			case tt.want == "" && (err != nil || w.root.String() != "https://127.0.0.1:1"):
				t.Errorf("New: %v, %v", w, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("New: %v, want %q", err, tt.want)
			}
		})
	}
	w, err := New(Config{Root: ok, Shards: ok, Log: klog.Background()})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "/not/there") {
		t.Errorf("Run: %v, want an error that names the file", err)
	}
}

func TestParseURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://a": "https://a", "https://a:6443/": "https://a:6443", "https://a/b/c//": "https://a/b/c",
		"": "", "a": "", "http://a": "", "https://": "", "https://:1": "", "https://u@a": "",
		"https://a?x": "", "https://a?": "", "https://a#x": "", "https://%": "", "HTTPS://a": "https://a",
	} {
		u, err := parseURL(in)
		if got := fmt.Sprint(u); err == nil && got != want || (err == nil) != (want != "") {
			t.Errorf("parseURL(%q) = %v, %v; want %q", in, u, err, want)
		}
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{First: time.Second, Max: 10 * time.Second}
	for failures, most := range map[int]time.Duration{0: 1, 1: 2, 2: 4, 3: 8, 4: 10, 19: 10, 1000: 10} {
		for range 100 {
			if d := b.delay(failures); d < most*time.Second/2 || d > most*time.Second {
				t.Fatalf("delay(%d) = %s, want between %ds/2 and %ds", failures, d, most, most)
			}
		}
	}
}

// TestQuietWatch: a watch on which nothing comes is opened anew, since its server
// may be gone without a word; that is no failure, and nothing is listed again.
func TestQuietWatch(t *testing.T) {
	r := newRig(t)
	r.quiet = 30 * time.Millisecond
	r.root.put(lcPath, "c1", "cluster", value("1"))
	r.run().synced()
	again := func() int { return r.root.count("logicalclusters") }
	before, lists := again(), r.root.count("sendInitialEvents")
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(20 * time.Second); again() < before+4; {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("a quiet watch is never opened anew")
		}
	}
	r.root.put(lcPath, "c1", "cluster", value("2"))
	r.holds("s0 lc", map[string]string{"c1/cluster": "2"})
	for _, why := range []string{"connection", "answer", "expired"} {
		if n := r.rec.count("s0 logicalclusters.core.kcp.io failed: " + why); n != 0 {
			t.Errorf("%d failures: %s", n, why)
		}
	}
	if got := r.root.count("sendInitialEvents"); got != lists {
		t.Errorf("%d lists more", got-lists)
	}
}
