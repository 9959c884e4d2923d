package workspacetypes

import (
	"context"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"

	"frontproxy/authn/internal/typestest"
	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/index/shards/shardstest"
)

// newerShard and newerType are as kcp 0.32 returns them, with what later versions may add.
const (
	newerShard = `{"metadata":{"name":"root","labels":{"region":"eu"}},"spec":{"baseURL":"` + shardstest.Address + `","selector":{"matchLabels":{"a":"b"}}}}`
	newerType  = `{"kind":"WorkspaceType","metadata":{"name":"team","resourceVersion":"22","annotations":{"kcp.io/cluster":"root"},"labels":{"a":"b"}},
		"spec":{"initializer":true,"terminator":true,"initializerPermissions":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}],
		"terminatorPermissions":[{"apiGroups":[""],"resources":["secrets"],"resourceNames":["a"],"verbs":["delete"]},{"nonResourceURLs":["/x"],"verbs":["get"]}],
		"permissions":{"authenticationConfigurations":[{"name":"evil"}]},"defaultAPIBindingLifecycle":"Later",
		"authenticationConfigurations":[{"name":"gone","later":{"name":"evil"}}],"later":[1,null,{"name":"evil"}]},"status":{"phase":"Later"}}`
)

// unskipped fails a test when an object is skipped, and wakes it when a watch changes its
// state.
type unskipped struct {
	t       *testing.T
	changed chan struct{}
}

func (u unskipped) ResourceWatchState(string, string, shards.State) { u.changed <- struct{}{} }
func (unskipped) Listed(string, string, int)                        {}
func (unskipped) ResourceWatchFailed(string, string, string)        {}
func (u unskipped) Skipped(_, resource string)                      { u.t.Errorf("an object of %s was skipped", resource) }
func (unskipped) Forget(string)                                     {}

// TestTypesOfNewerKCP: what newer kcps add to a WorkspaceType, or may add, changes
// nothing of its authenticators, in whichever way the type comes.
func TestTypesOfNewerKCP(t *testing.T) {
	for _, delivery := range shardstest.Deliveries {
		t.Run(string(delivery), func(t *testing.T) {
			server := shardstest.New(t, delivery, map[string][]string{
				shardstest.Shards: {newerShard}, shardstest.WorkspaceTypes: {newerType}, shardstest.Configurations: nil,
			})
			x := New(Config{Placement: &typestest.Placement{Of: map[string]string{"root": "root"}}})
			wake := unskipped{t, make(chan struct{}, 100)}
			watcher, err := shards.New(shards.Config{Root: server.Config, Shards: server.Config, Watches: x.Watches(), Registry: index.New(clock.RealClock{}), Metrics: wake})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { _ = watcher.Run(ctx) })
			t.Cleanup(func() { cancel(); running.Wait() })
			for status := watcher.Status(); len(status.Shards) == 0 || !status.Shards[0].Synced; status = watcher.Status() {
				<-wake.changed
			}
			server.Wait(t)

			got, err := x.Authenticators(index.Type{Cluster: "root", Name: "team", Path: "root"})
			if err != nil || got == nil {
				t.Fatalf("the type has %v, %v", got, err)
			}
			if diff := cmp.Diff([]string{"authentication configuration gone does not exist"}, got.Undecided); diff != "" {
				t.Errorf("what is missing (-want +got):\n%s", diff)
			}
		})
	}
}
