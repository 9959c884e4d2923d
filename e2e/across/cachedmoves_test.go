package across

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"frontproxy/e2e/harness"
)

// TestInformersOfCachedResourcesAfterAMove: the versions of a CachedResource are the cache
// server's, and below those of the shard to which its consumer has moved. An informer that
// starts after the move lists once, and sees what comes.
func TestInformersOfCachedResourcesAfterAMove(t *testing.T) {
	t.Parallel()
	if !env.Migrates() {
		t.Skip("this kcp moves nothing")
	}
	provider, org := workspace(t, shardOne), workspace(t, harness.RootShard)
	exportFlavors(t, provider)
	put := func(name string) {
		t.Helper()
		made, err := env.Admin().Dynamic(provider.Path)
		check(t, err)
		_, err = made.Resource(flavors).Create(t.Context(), &unstructured.Unstructured{Object: object{
			"apiVersion": "cloud.example.io/v1", "kind": "Flavor", "metadata": object{"name": name}, "spec": object{"cpus": int64(4)},
		}}, metav1.CreateOptions{})
		check(t, err)
	}
	put("small")
	ws, err := env.Admin().CreateWorkspace(t.Context(), org.Path, "consumer", harness.TypeRef{}, harness.RootShard)
	check(t, err)
	// kcp v0.32.3 serves a virtual resource of a moved workspace only if another workspace of
	// the new shard has bound it.
	near := workspace(t, shardOne)
	for _, b := range []struct{ in, path, name string }{
		{ws.Path, provider.Path, "flavors"}, {near.Path, provider.Path, "flavors"}, {org.Path, "root", "migration.kcp.io"},
	} {
		eventually(t, "a binding in "+b.in, func(ctx context.Context) error {
			return env.Admin().Create(ctx, b.in, bindings, &object{
				"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIBinding", "metadata": object{"name": "bound"},
				"spec": object{"reference": object{"export": object{"path": b.path, "name": b.name}}},
			})
		})
	}
	at, err := env.Admin().Dynamic(ws.Path)
	check(t, err)
	eventually(t, "the flavor before the move", func(ctx context.Context) error { return listFlavors(ctx, at, nil) })
	raise(t, provider, versionOf(t, at)+1000)

	eventually(t, "to order the move", func(ctx context.Context) error {
		return env.Admin().Create(ctx, org.Path, migrations, &object{
			"apiVersion": "migration.kcp.io/v1alpha1", "kind": "LogicalClusterMigration", "metadata": object{"name": "move"},
			"spec": object{"logicalCluster": ws.Cluster, "destinationShard": shardOne},
		})
	})
	eventually(t, "the move", func(ctx context.Context) error {
		var m struct{ Status struct{ Phase string } }
		err := env.Admin().Get(ctx, org.Path, migrations, "move", &m)
		if err == nil && m.Status.Phase != "Completed" {
			err = fmt.Errorf("its phase is %q", m.Status.Phase)
		}
		return err
	})
	eventually(t, "the flavor after the move", func(ctx context.Context) error { return listFlavors(ctx, at, nil) })

	var n requests
	config := env.Admin().Config(ws.Path)
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper { n.next = next; return &n }
	counted, err := dynamic.NewForConfig(config)
	check(t, err)
	factory := dynamicinformer.NewDynamicSharedInformerFactory(counted, 0)
	informer := factory.ForResource(flavors).Informer()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(func() { stop(); factory.Shutdown() })
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
		t.Fatal("the informer never synced")
	}
	// A watch that goes on from the version of a list, as each informer's second one.
	version := versionOf(t, at)
	watch, err := at.Resource(flavors).Watch(t.Context(), metav1.ListOptions{ResourceVersion: fmt.Sprint(version)})
	if err != nil {
		t.Fatalf("a watch from version %d: %v", version, err)
	}
	defer watch.Stop()
	put("large")
	eventually(t, "the new flavor in the informer", func(context.Context) error {
		if keys := informer.GetStore().ListKeys(); len(keys) != 2 {
			return fmt.Errorf("it has %v", keys)
		}
		return nil
	})
	if e := <-watch.ResultChan(); e.Type != "ADDED" {
		t.Errorf("the watch shows %+v", e)
	}
	if n.expired.Load() != 0 || n.lists.Load() != 1 {
		t.Errorf("the informer has listed %d times and got 410 %d times, want once and never", n.lists.Load(), n.expired.Load())
	}
}

// requests counts an informer's lists, streamed or not, and 410s.
type requests struct {
	next           http.RoundTripper
	lists, expired atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (n *requests) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := n.next.RoundTrip(r)
	if err == nil && res.StatusCode == http.StatusGone {
		n.expired.Add(1)
	}
	if q := r.URL.Query(); err == nil && res.StatusCode == http.StatusOK && (q.Get("watch") == "" || strings.HasPrefix(q.Get("sendInitialEvents"), "t")) {
		n.lists.Add(1)
	}
	return res, err
}

// listFlavors lists one flavor, and stores the version of the list in version, if that is
// not nil.
func listFlavors(ctx context.Context, at dynamic.Interface, version *uint64) error {
	list, err := at.Resource(flavors).List(ctx, metav1.ListOptions{})
	if err == nil && len(list.Items) != 1 {
		err = fmt.Errorf("it has %d flavors", len(list.Items))
	}
	if err == nil && version != nil {
		*version, err = strconv.ParseUint(list.GetResourceVersion(), 10, 64)
	}
	return err
}

func versionOf(t *testing.T, at dynamic.Interface) (version uint64) {
	t.Helper()
	check(t, listFlavors(t.Context(), at, &version))
	return version
}

// raise writes on a workspace's shard until that has reached a version.
func raise(t *testing.T, ws harness.Workspace, version uint64) {
	t.Helper()
	configMaps := kubeOf(t, env.ShardAdmin(env.Shard(ws.Shard)), harness.Workspace{Path: ws.Cluster}).CoreV1().ConfigMaps("default")
	made, err := configMaps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "raise"}}, metav1.CreateOptions{})
	check(t, err)
	for n := 0; ; n++ {
		at, err := strconv.ParseUint(made.ResourceVersion, 10, 64)
		check(t, err)
		if at >= version {
			t.Logf("%s has reached version %d after %d writes; the flavors had %d", ws.Shard, at, n, version-1000)
			return
		}
		made.Data = map[string]string{"n": fmt.Sprint(n)}
		made, err = configMaps.Update(t.Context(), made, metav1.UpdateOptions{})
		check(t, err)
	}
}
