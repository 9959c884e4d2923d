package index

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"frontproxy/index/shards"
	"frontproxy/index/shards/shardstest"
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

// newerShard is a Shard as kcp 0.32 and later return it, with what later versions may add.
const newerShard = `{"kind":"Shard","metadata":{"name":"root","labels":{"region":"eu"},"annotations":{"experimental.core.kcp.io/unschedulable":"true"}},
	"spec":{"baseURL":"` + shardstest.Address + `","externalURL":"https://s","selector":{"matchLabels":{"a":"b"}},"later":1},
	"status":{"phase":"Later","conditions":[{"type":"Schedulable","status":"False"}]}}`

// newerPhases are those that kcp 0.32 adds, and one that no kcp has yet.
var newerPhases = []string{"Inactive", "Terminating", "Deleting", "PhaseOfALaterKCP"}

// newerID is the logical cluster of the workspace root:<phase in lower case>.
func newerID(phase string) string {
	return fmt.Sprintf("1%-.15s", strings.ToLower(phase)+"000000000000000")
}

// newerLC is a LogicalCluster as kcp 0.32 and later return it, shortened, with what later
// versions may add.
func newerLC(phase string) string {
	return fmt.Sprintf(`{"metadata":{"name":"cluster","resourceVersion":"21","deletionTimestamp":"2026-08-04T00:00:00Z","finalizers":["core.kcp.io/logicalcluster"],
		"annotations":{"kcp.io/cluster":%q,"core.kcp.io/shard":"root","core.kcp.io/inactive":"true","internal.kcp.io/inactive":"true"}},
		"spec":{"terminators":["root:x"],"createdBy":{"username":"alice","groups":["a"],"uid":"u","extra":{"authentication.kcp.io/scopes":["cluster:x"]}},
		"owner":{"resource":"workspaces","name":%q,"cluster":"root"},"later":[{"a":[1,2.5e3,null,true]}]},
		"status":{"phase":%q,"createdBy":{"metadata":{"name":"evil"}},"terminators":["root:x"],"conditions":[{"type":"Later","status":"True"}]}}`,
		newerID(phase), strings.ToLower(phase), phase)
}

// newerWS is the Workspace of newerLC.
func newerWS(phase string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"resourceVersion":"22","annotations":{"kcp.io/cluster":"root","core.kcp.io/shard":"root"},"labels":{"region":"eu"},
		"managedFields":[{"manager":"kcp","fieldsV1":{"f:spec":{"f:cluster":{}}}}]},
		"spec":{"URL":"https://s/clusters/x","cluster":%q,"createdBy":{"username":"alice","extra":{"cluster":["evil"]}},
		"location":{"selector":{"matchLabels":{"region":"eu"},"matchExpressions":[{"key":"a","operator":"In","values":["b"]}]}},
		"type":{"name":"organization","path":"root","later":{"name":"evil"}}},"status":{"phase":%q,"later":{"phase":"Unavailable"}}}`,
		strings.ToLower(phase), newerID(phase), phase)
}

// serveKCP serves objects of older and newer kcps.
func serveKCP(t *testing.T, delivery shardstest.Delivery) *shardstest.Server {
	t.Helper()
	clusters, workspaces := []string{rootLC, orgLC, homeLC}, []string{orgWS, mountWS, oddWS}
	for _, phase := range newerPhases {
		clusters, workspaces = append(clusters, newerLC(phase)), append(workspaces, newerWS(phase))
	}
	return shardstest.New(t, delivery, map[string][]string{
		shardstest.Shards: {newerShard}, shardstest.LogicalClusters: clusters, shardstest.Workspaces: workspaces,
	})
}

// states wakes a test when a watch changes its state. No object may be skipped.
type states struct {
	t       testing.TB
	changed chan struct{}
}

func (s states) ResourceWatchState(string, string, shards.State) { s.changed <- struct{}{} }
func (states) Listed(string, string, int)                        {}
func (states) ResourceWatchFailed(string, string, string)        {}
func (s states) Skipped(_, resource string)                      { s.t.Errorf("an object of %s was skipped", resource) }
func (states) Forget(string)                                     {}

// allRead says that root and every shard have been read.
func allRead(s shards.Status) bool {
	return s.Root.Synced && !slices.ContainsFunc(s.Shards, func(sh shards.ShardStatus) bool { return !sh.Synced })
}

// follow fills an index from cfg and returns when all of it was read. stop ends
// the watches.
func follow(t testing.TB, cfg *rest.Config) (x *Index, stop func()) {
	t.Helper()
	x = New(clock.RealClock{})
	wake := states{t, make(chan struct{}, 100)}
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

// TestWatcherFillsTheIndex fills an index through a Watcher, in each way in which objects come. Whatever
// newer kcps add to them is of no effect.
func TestWatcherFillsTheIndex(t *testing.T) {
	for _, delivery := range shardstest.Deliveries {
		t.Run(string(delivery), func(t *testing.T) { testWatcherFillsTheIndex(t, delivery) })
	}
}

func testWatcherFillsTheIndex(t *testing.T, delivery shardstest.Delivery) {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	server := serveKCP(t, delivery)
	x, _ := follow(t, server.Config)
	server.Wait(t)
	w := &world{Index: x}
	w.check(t)
	all := map[string]answer{
		"root":       {Cluster: "root", Shard: "root", Type: rootType},
		"root:org":   {Cluster: orgID, Shard: "root", Type: orgType},
		orgID:        {Cluster: orgID, Shard: "root", Type: orgType},
		"root:m":     {Mount: "https://there.example/x", MountParent: "root"},
		"user:alice": {Cluster: homeID, Shard: "root", Type: Type{Cluster: "root", Name: "home", Path: "root"}},
		"root:odd":   {Err: ErrUnknown},
		"nowhere":    {Err: ErrUnknown},
	}
	for _, phase := range newerPhases {
		all["root:"+strings.ToLower(phase)] = answer{Cluster: newerID(phase), Shard: "root", Type: orgType}
	}
	for path, want := range all {
		if diff := cmp.Diff(want, w.lookup(path), cmpopts.EquateErrors()); diff != "" {
			t.Errorf("Lookup(%q) (-want +got):\n%s", path, diff)
		}
	}
	want := []Count{{Shard: "root", LogicalClusters: 3 + len(newerPhases), Workspaces: 3 + len(newerPhases)}}
	if diff := cmp.Diff(want, w.Counts()); diff != "" {
		t.Errorf("Counts (-want +got):\n%s", diff)
	}
}
