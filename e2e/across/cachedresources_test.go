package across

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"frontproxy/e2e/harness"
)

var (
	flavors = schema.GroupVersionResource{Group: "cloud.example.io", Version: "v1", Resource: "flavors"}

	crds            = harness.Resource{Group: "apiextensions.k8s.io", Version: "v1", Name: "customresourcedefinitions"}
	cachedResources = harness.Resource{Group: "cache.kcp.io", Version: "v1alpha1", Name: "cachedresources"}
	cachedSlices    = harness.Resource{Group: "cache.kcp.io", Version: "v1alpha1", Name: "cachedresourceendpointslices"}
)

// exportFlavors makes flavors in the provider's workspace, cached for all shards,
// and an APIExport that shows them read-only wherever it is bound.
func exportFlavors(t *testing.T, provider harness.Workspace) {
	t.Helper()
	spec := object{
		"group": flavors.Group, "scope": "Cluster",
		"names":    object{"plural": "flavors", "singular": "flavor", "kind": "Flavor", "listKind": "FlavorList"},
		"versions": []object{{"name": "v1", "served": true, "storage": true}},
	}
	open := object{"type": "object", "properties": object{"spec": object{"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}
	create := func(resource harness.Resource, o object) {
		t.Helper()
		eventually(t, "to create "+resource.Name, func(ctx context.Context) error { return env.Admin().Create(ctx, provider.Path, resource, &o) })
	}
	spec["versions"].([]object)[0]["schema"] = object{"openAPIV3Schema": open}
	create(crds, object{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": object{"name": "flavors.cloud.example.io"}, "spec": spec})
	spec["versions"].([]object)[0]["schema"] = open
	create(schemas, object{"apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIResourceSchema", "metadata": object{"name": "v1.flavors.cloud.example.io"}, "spec": spec})
	create(cachedResources, object{
		"apiVersion": "cache.kcp.io/v1alpha1", "kind": "CachedResource", "metadata": object{"name": "flavors"},
		"spec": object{"group": flavors.Group, "version": flavors.Version, "resource": flavors.Resource},
	})
	var cached struct {
		Status struct {
			IdentityHash string
			Conditions   []metav1.Condition
		}
	}
	eventually(t, "the replication of flavors", func(ctx context.Context) error {
		if err := env.Admin().Get(ctx, provider.Path, cachedResources, "flavors", &cached); err != nil {
			return err
		}
		if !slices.ContainsFunc(cached.Status.Conditions, func(c metav1.Condition) bool { return c.Type == "ReplicationStarted" && c.Status == "True" }) {
			return fmt.Errorf("it is %+v", cached.Status)
		}
		return nil
	})
	create(exports, object{
		"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIExport", "metadata": object{"name": "flavors"},
		"spec": object{"resources": []object{{
			"group": flavors.Group, "name": flavors.Resource, "schema": "v1.flavors.cloud.example.io",
			"storage": object{"virtual": object{
				"reference":    object{"apiGroup": cachedResources.Group, "kind": "CachedResourceEndpointSlice", "name": "flavors"},
				"identityHash": cached.Status.IdentityHash,
			}},
		}}},
	})
	// kcp 0.31 makes the slice with the CachedResource, from 0.32 on its owner does.
	eventually(t, "to create the endpoint slice", func(ctx context.Context) error {
		err := env.Admin().Create(ctx, provider.Path, cachedSlices, &object{
			"apiVersion": "cache.kcp.io/v1alpha1", "kind": "CachedResourceEndpointSlice", "metadata": object{"name": "flavors"},
			"spec": object{"cachedResource": object{"name": "flavors"}, "export": object{"name": "flavors"}},
		})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
}

// TestCachedResourceAcrossShards: flavors are made on shard-1 and read in a
// workspace of shard-10, whose virtual workspaces run in a server of their own.
func TestCachedResourceAcrossShards(t *testing.T) {
	t.Parallel()
	flavorsAcross(t, shardTen)
}

// TestCachedResourceEmbedded is the same with virtual workspaces that the shard
// runs itself.
func TestCachedResourceEmbedded(t *testing.T) {
	t.Parallel()
	flavorsAcross(t, harness.RootShard)
}

// flavorsAcross makes flavors on shard-1 and reads them in a workspace of
// another shard. That shard reads them at its virtual workspace URL, which is the
// proxy's, under its own certificate.
func flavorsAcross(t *testing.T, shard string) {
	t.Helper()
	provider, consumer, near := workspace(t, shardOne), workspace(t, shard), workspace(t, shardOne)
	exportFlavors(t, provider)
	for _, ws := range []harness.Workspace{consumer, near} { // both shards publish a URL, one a prefix of the other but for the slash
		eventually(t, "a binding in "+ws.Path, func(ctx context.Context) error {
			return env.Admin().Create(ctx, ws.Path, bindings, &object{
				"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIBinding", "metadata": object{"name": "flavors"},
				"spec": object{"reference": object{"export": object{"path": provider.Path, "name": "flavors"}}},
			})
		})
	}
	made, err := env.Admin().Dynamic(provider.Path)
	check(t, err)
	put := func(name string) {
		_, err := made.Resource(flavors).Create(t.Context(), &unstructured.Unstructured{Object: object{
			"apiVersion": "cloud.example.io/v1", "kind": "Flavor", "metadata": object{"name": name}, "spec": object{"cpus": int64(4)},
		}}, metav1.CreateOptions{})
		check(t, err)
	}
	put("small")

	// The reader is an account of the provider's shard.
	reader := newAccount(t, near, "reader")
	grant(t, consumer, []rbacv1.PolicyRule{
		{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{flavors.Group}, Resources: []string{flavors.Resource}},
		{Verbs: []string{"access"}, NonResourceURLs: []string{"/"}},
	}, harness.User(reader.global()))
	dynamic, err := env.Token(reader.token).Dynamic(consumer.Path)
	check(t, err)
	client := dynamic.Resource(flavors)
	var list *unstructured.UnstructuredList
	eventually(t, "the flavor on "+shard, func(ctx context.Context) error {
		if list, err = client.List(ctx, metav1.ListOptions{}); err == nil && len(list.Items) != 1 {
			err = fmt.Errorf("it sees %d", len(list.Items))
		}
		return err
	})
	got, err := client.Get(t.Context(), "small", metav1.GetOptions{})
	check(t, err)
	cpus, _, _ := unstructured.NestedInt64(got.Object, "spec", "cpus")
	if cpus != 4 || got.GetAnnotations()["kcp.io/cluster"] != consumer.Cluster {
		t.Errorf("the flavor is %v", got.Object)
	}
	watch, err := client.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
	check(t, err)
	defer watch.Stop()
	put("large")
	select {
	case e := <-watch.ResultChan():
		if o, ok := e.Object.(*unstructured.Unstructured); !ok || o.GetName() != "large" {
			t.Errorf("the watch shows %+v", e)
		}
	case <-time.After(settled):
		t.Error("the watch shows nothing")
	}
	resources, err := kubeOf(t, env.Token(reader.token), consumer).Discovery().ServerResourcesForGroupVersion("cloud.example.io/v1")
	check(t, err)
	if len(resources.APIResources) != 1 || slices.Contains(resources.APIResources[0].Verbs, "create") {
		t.Errorf("discovery has %+v", resources.APIResources)
	}
	wantShardItselfOnlyThere(t, provider, consumer, reader)
}

// wantShardItselfOnlyThere: the certificate with which the consumer's shard reads
// flavors is nobody's anywhere else, and others have no access where it has.
func wantShardItselfOnlyThere(t *testing.T, provider, consumer harness.Workspace, reader account) {
	t.Helper()
	var slice struct {
		Status struct{ Endpoints []struct{ URL string } }
	}
	eventually(t, "the URLs of both shards", func(ctx context.Context) error {
		err := env.Admin().Get(ctx, provider.Path, cachedSlices, "flavors", &slice)
		if err == nil && len(slice.Status.Endpoints) != 2 {
			err = fmt.Errorf("there are %v", slice.Status.Endpoints)
		}
		return err
	})
	replication := "/services/replication/" + provider.Cluster + "/flavors"
	const resource = "/apis/cloud.example.io/v1/flavors"
	for _, e := range slice.Status.Endpoints {
		if !strings.HasPrefix(e.URL, env.Proxy.URL+"/shards/") || !strings.HasSuffix(e.URL, replication) {
			t.Errorf("the URL %s does not lead through the proxy", e.URL)
		}
	}
	shard := env.Proxy.Certificate(env.Shard(consumer.Shard).ClientKeys, nil)
	at := "/shards/" + consumer.Shard + replication + "/clusters/"
	for path, want := range map[string]int{
		at + consumer.Cluster + resource:                               http.StatusOK,
		"/shards/" + shardOne + replication + "/clusters/*" + resource: http.StatusForbidden,
		"/clusters/" + provider.Cluster + resource:                     http.StatusForbidden,
		replication + "/clusters/*" + resource:                         http.StatusForbidden,
		"/clusters/root/apis/core.kcp.io/v1alpha1/shards":              http.StatusForbidden,
	} {
		wantStatus(t, "the shard's certificate at "+path, shard.Healthy(t.Context(), path), want)
	}
	// From 0.32 on virtual workspaces of this kind know no wildcard; they say so to
	// whom they let in, and only to them.
	if err := shard.Healthy(t.Context(), at+"*"+resource); err != nil && status(err) != http.StatusBadRequest {
		t.Errorf("the shard's certificate at every cluster: %v, want what the virtual workspace says", err)
	}
	log, err := os.ReadFile(env.Proxy.Log())
	check(t, err)
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, `"Ended a watch"`) && strings.Contains(line, "/shards/"+consumer.Shard+"/services/initializingworkspaces/") {
			t.Errorf("the shard's own watch was ended: %s", line)
		}
	}
	wantStatus(t, "the reader where the shard reads", env.Token(reader.token).Healthy(t.Context(), at+"*"+resource), http.StatusForbidden)
}
