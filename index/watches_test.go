package index

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"frontproxy/index/shards"
)

// Objects as kcp v0.31.2 returns them, shortened.
const (
	rootLC = `{"apiVersion":"core.kcp.io/v1alpha1","kind":"LogicalCluster","metadata":{"name":"cluster",
		"resourceVersion":"11","annotations":{"kcp.io/cluster":"root","kcp.io/path":"root",
		"internal.tenancy.kcp.io/type":"root:root"}},"spec":{"initializers":["root:x"]},"status":{"phase":"Ready"}}`
	orgLC = `{"metadata":{"name":"cluster","resourceVersion":"12","annotations":{"kcp.io/cluster":"1org000000000000",
		"kcp.io/path":"root:org","internal.tenancy.kcp.io/type":"root:evil"}},
		"spec":{"directlyDeletable":true,"owner":{"apiVersion":"tenancy.kcp.io/v1alpha1","resource":"workspaces",
		"name":"org","cluster":"root","uid":"u"}},"status":{"phase":"Ready"}}`
	homeLC = `{"metadata":{"name":"cluster","resourceVersion":"13","annotations":{"kcp.io/cluster":"v1u4alow0iv9",
		"internal.tenancy.kcp.io/type":"root:home","internal.kcp.io/migrating":""}},"spec":{}}`
	orgWS = `{"metadata":{"name":"org","resourceVersion":"14","annotations":{"kcp.io/cluster":"root"}},
		"spec":{"URL":"https://s/clusters/1org000000000000","cluster":"1org000000000000",
		"type":{"name":"organization","path":"root"}},"status":{"phase":"Ready"}}`
	mountWS = `{"metadata":{"name":"m","resourceVersion":"15","annotations":{"kcp.io/cluster":"root"}},
		"spec":{"URL":"https://there.example/x","cluster":"1org000000000000","mount":{"ref":{"apiVersion":"v1","kind":"K","name":"n"}},
		"Cluster":"x"},"status":{"phase":"Ready"}}`
	// Wrong case: not these fields.
	oddWS = `{"metadata":{"name":"odd","resourceVersion":"16","annotations":{"kcp.io/cluster":"root"}},
		"spec":{"CLUSTER":"1org000000000000","url":"https://x","Mount":{}},"status":{"Phase":"Unavailable"}}`
)

// Objects as kcp 0.32 and later return them, shortened, with what later versions
// may add.
const (
	newerShard = `"metadata":{"name":"root","labels":{"region":"eu"},"annotations":{"x":"y"}},"kind":"Shard"`
	newerLC    = `{"metadata":{"name":"cluster","resourceVersion":"21","deletionTimestamp":"2026-08-04T00:00:00Z","finalizers":["core.kcp.io/logicalcluster"],
		"annotations":{"kcp.io/cluster":"1new000000000000","core.kcp.io/shard":"root","internal.tenancy.kcp.io/logical-cluster-inactive":"true"}},
		"spec":{"terminators":["root:x"],"createdBy":{"username":"alice","groups":["a"]},"owner":{"resource":"workspaces","name":"new","cluster":"root"},"later":[{"a":[1,2.5e3,null,true]}]},
		"status":{"phase":"Terminating","terminators":["root:x"],"conditions":[{"type":"Later","status":"True"}]}}`
	newerWS = `{"metadata":{"name":"new","resourceVersion":"22","annotations":{"kcp.io/cluster":"root"},"managedFields":[{"manager":"kcp","fieldsV1":{"f:spec":{"f:cluster":{}}}}]},
		"spec":{"URL":"https://s/clusters/1new000000000000","cluster":"1new000000000000","createdBy":{"username":"alice","extra":{"cluster":["evil"]}},
		"location":{"selector":{"matchLabels":{"region":"eu"},"matchExpressions":[{"key":"a","operator":"In","values":["b"]}]}},
		"type":{"name":"organization","path":"root","later":{"name":"evil"}}},"status":{"phase":"PhaseOfALaterKCP","later":{"phase":"Unavailable"}}}`
)

// serveKCP answers the lists an index needs, and keeps watches open. It gives
// out its own address as that of the only shard.
func serveKCP(t *testing.T) *rest.Config {
	t.Helper()
	var base string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lists := map[string]string{
			"/clusters/root/apis/core.kcp.io/v1alpha1/shards":             fmt.Sprintf(`{%s,"spec":{"baseURL":%q,"selector":{"matchLabels":{"a":"b"}},"later":1},"status":{"phase":"Later"}}`, newerShard, base),
			"/clusters/*/apis/core.kcp.io/v1alpha1/logicalclusters":       rootLC + "," + orgLC + "," + homeLC + "," + newerLC,
			"/clusters/*/apis/tenancy.kcp.io/v1alpha1/workspaces:idhash1": orgWS + "," + mountWS + "," + oddWS + "," + newerWS,
		}
		items, ok := lists[r.URL.Path]
		switch {
		case r.URL.Query().Has("sendInitialEvents"):
			w.WriteHeader(http.StatusUnprocessableEntity)
		case r.URL.Path == "/clusters/root/apis/apis.kcp.io/v1alpha2/apiexports/tenancy.kcp.io":
			_, _ = io.WriteString(w, `{"status":{"identityHash":"idhash1"}}`)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		case r.URL.Query().Has("watch"):
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		default:
			_, _ = fmt.Fprintf(w, `{"metadata":{"resourceVersion":"20"},"items":[%s]}`, items)
		}
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	base = s.URL
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return &rest.Config{Host: s.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
}

// states wakes a test when a watch changes its state.
type states struct{ changed chan struct{} }

func (s states) ResourceWatchState(string, string, shards.State) { s.changed <- struct{}{} }
func (states) Listed(string, string, int)                        {}
func (states) ResourceWatchFailed(string, string, string)        {}
func (states) Skipped(string, string)                            {}
func (states) Forget(string)                                     {}

// allRead says that root and every shard have been read.
func allRead(s shards.Status) bool {
	return s.RootAnswered && !slices.ContainsFunc(s.Shards, func(sh shards.ShardStatus) bool { return !sh.Synced })
}

// follow fills an index from cfg and returns when all of it was read. stop ends
// the watches.
func follow(t testing.TB, cfg *rest.Config) (x *Index, stop func()) {
	t.Helper()
	x = New(clock.RealClock{})
	wake := states{make(chan struct{}, 100)}
	watcher, err := shards.New(shards.Config{Root: cfg, Shards: cfg, Watches: x.Watches(), Registry: x, Metrics: wake})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	done := make(chan error, 1)
	go func() { done <- watcher.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	for !allRead(watcher.Status()) {
		select {
		case <-wake.changed:
		case <-ctx.Done():
			t.Fatalf("not ready: %+v", watcher.Status())
		}
	}
	return x, stop
}

// TestPhases: what each phase of a Workspace means to a lookup.
func TestPhases(t *testing.T) {
	found := answer{Cluster: orgID, Shard: "root"}
	for phase, want := range map[string]answer{
		"": found, "Initializing": found, "Ready": found, "Inactive": found, "Terminating": found, "Deleting": found, "PhaseOfALaterKCP": found,
		"Scheduling": {Err: ErrUnknown}, "Unavailable": {Err: ErrUnavailable},
	} {
		w := newWorld()
		w.synced("root")
		w.add("root", lc("root"), lc(orgID), ws("root", "org", orgID, phased(phase)))
		if diff := cmp.Diff(want, w.lookup("root:org"), cmpopts.EquateErrors()); diff != "" {
			t.Errorf("phase %q (-want +got):\n%s", phase, diff)
		}
		if diff := cmp.Diff(found, w.lookup(orgID), cmpopts.EquateErrors()); diff != "" {
			t.Errorf("phase %q, by its id (-want +got):\n%s", phase, diff)
		}
	}
}

// TestFeeds fills an index through a Watcher.
func TestFeeds(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	cfg := serveKCP(t)
	x, _ := follow(t, cfg)
	w := &world{Index: x}
	w.check(t)
	for path, want := range map[string]answer{
		"root":       {Cluster: "root", Shard: "root", Type: rootType},
		"root:org":   {Cluster: orgID, Shard: "root", Type: orgType},
		orgID:        {Cluster: orgID, Shard: "root", Type: orgType},
		"root:new":   {Cluster: "1new000000000000", Shard: "root", Type: orgType},
		"root:m":     {Mount: "https://there.example/x"},
		"user:alice": {Cluster: homeID, Shard: "root", Type: Type{Cluster: "root", Name: "home", Path: "root"}},
		"root:odd":   {Err: ErrUnknown},
		"nowhere":    {Err: ErrUnknown},
	} {
		if diff := cmp.Diff(want, w.lookup(path), cmpopts.EquateErrors()); diff != "" {
			t.Errorf("Lookup(%q) (-want +got):\n%s", path, diff)
		}
	}
	want := []Count{{Shard: "root", LogicalClusters: 4, Workspaces: 4}}
	if diff := cmp.Diff(want, w.Counts()); diff != "" {
		t.Errorf("Counts (-want +got):\n%s", diff)
	}
}
