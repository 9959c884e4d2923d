package across

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"frontproxy/e2e/harness"
)

// seen are an informer's objects: by name, the logical cluster and the version
// that the test counts up.
type seen struct {
	mu      sync.Mutex // guards objects
	objects map[string]string
}

func (s *seen) put(object any) {
	o := object.(*unstructured.Unstructured)
	version, _, _ := unstructured.NestedString(o.Object, "spec", "version")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[o.GetName()] = o.GetAnnotations()["kcp.io/cluster"] + " " + version
}

func (s *seen) drop(object any) {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, object.(*unstructured.Unstructured).GetName())
}

func (s *seen) want(t *testing.T, what string, want map[string]string) {
	t.Helper()
	eventually(t, what, func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !maps.Equal(s.objects, want) {
			return fmt.Errorf("it has %v, want %v", s.objects, want)
		}
		return nil
	})
}

// TestWildcardInformers: a controller as controller-runtime makes them, with one
// informer for all workspaces that have bound its APIExport, at each shard's
// virtual workspace. Each sees the objects of its shard's workspaces and no
// others, through the mapping of /services/ and through the route by shard.
func TestWildcardInformers(t *testing.T) {
	t.Parallel()
	provider := workspace(t, harness.RootShard)
	exportWidgets(t, provider)
	consumers := map[string][]harness.Workspace{}
	for _, shard := range []string{harness.RootShard, harness.RootShard, shardOne} {
		ws := workspace(t, shard)
		bindWidgets(t, ws, provider) // makes of-<shard>
		makeWidget(t, ws, "in-"+ws.Cluster)
		consumers[shard] = append(consumers[shard], ws)
	}
	controller := newAccount(t, provider, "controller")
	grant(t, provider, contentOfWidgets(), rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: "controller"})

	services := "/services/apiexport/" + provider.Cluster + "/widgets/clusters/*"
	for url, shard := range map[string]string{
		services: harness.RootShard, "/shards/root" + services: harness.RootShard, "/shards/" + shardOne + services: shardOne,
	} {
		t.Run(url[:12], func(t *testing.T) { informAt(t, controller, env.Proxy.URL+url, consumers[shard]) })
	}
}

// informAt runs an informer at url and changes things in the workspaces.
func informAt(t *testing.T, controller account, url string, workspaces []harness.Workspace) {
	client := at(t, env.Token(controller.token), url)
	eventually(t, "the controller's right at "+url, func(ctx context.Context) error {
		_, err := client.Resource(widgets).List(ctx, metav1.ListOptions{})
		return err
	})
	// Names that are the same in two workspaces share a place in client-go's cache.
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, metav1.NamespaceAll, func(o *metav1.ListOptions) {
		o.FieldSelector = "metadata.name!=of-root,metadata.name!=of-" + shardOne
	})
	informer := factory.ForResource(widgets).Informer()
	s := &seen{objects: map[string]string{}}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: s.put, UpdateFunc: func(_, o any) { s.put(o) }, DeleteFunc: s.drop})
	check(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer factory.Shutdown()
	defer stop()
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
		t.Fatal("the informer never synced")
	}
	want := map[string]string{}
	for _, ws := range workspaces {
		want["in-"+ws.Cluster] = ws.Cluster + " "
	}
	s.want(t, "what there was", want)
	later := "later-" + fmt.Sprint(len(url)) // others run at the same workspaces
	for _, ws := range workspaces {
		name := later + "-" + ws.Cluster
		makeWidget(t, ws, name)
		want[name] = ws.Cluster + " "
		s.want(t, "what was made", want)
		// It writes through the same virtual workspace, in the object's cluster.
		one := at(t, env.Token(controller.token), url[:len(url)-1]+ws.Cluster).Resource(widgets)
		got, err := one.Get(t.Context(), name, metav1.GetOptions{})
		check(t, err)
		got.Object["spec"] = object{"version": "2"}
		_, err = one.Update(t.Context(), got, metav1.UpdateOptions{})
		check(t, err)
		want[name] = ws.Cluster + " 2"
		s.want(t, "what was changed", want)
	}
	for _, ws := range workspaces {
		name := later + "-" + ws.Cluster
		straight, err := env.Admin().Dynamic(ws.Path)
		check(t, err)
		check(t, straight.Resource(widgets).Delete(t.Context(), name, metav1.DeleteOptions{}))
		delete(want, name)
	}
	s.want(t, "what is left", want)
	if keys := slices.Sorted(maps.Keys(want)); len(keys) != len(workspaces) {
		t.Errorf("left are %v", keys)
	}
}
