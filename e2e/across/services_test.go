package across

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"frontproxy/e2e/harness"
)

var (
	workspaces = schema.GroupVersionResource{Group: "tenancy.kcp.io", Version: "v1alpha1", Resource: "workspaces"}
	widgets    = schema.GroupVersionResource{Group: "example.io", Version: "v1", Resource: "widgets"}

	schemas        = harness.Resource{Group: "apis.kcp.io", Version: "v1alpha1", Name: "apiresourceschemas"}
	exports        = harness.Resource{Group: "apis.kcp.io", Version: "v1alpha2", Name: "apiexports"}
	bindings       = harness.Resource{Group: "apis.kcp.io", Version: "v1alpha2", Name: "apibindings"}
	endpointSlices = harness.Resource{Group: "apis.kcp.io", Version: "v1alpha1", Name: "apiexportendpointslices"}
)

type object = map[string]any

// exportWidgets makes an APIExport of widgets.
func exportWidgets(t *testing.T, provider harness.Workspace) {
	t.Helper()
	eventually(t, "the schema of widgets", func(ctx context.Context) error {
		return env.Admin().Create(ctx, provider.Path, schemas, &object{
			"apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIResourceSchema", "metadata": object{"name": "v1.widgets.example.io"},
			"spec": object{
				"group": "example.io", "scope": "Cluster",
				"names": object{"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
				"versions": []object{{"name": "v1", "served": true, "storage": true,
					"schema": object{"type": "object", "properties": object{"spec": object{"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}},
			},
		})
	})
	check(t, env.Admin().Create(t.Context(), provider.Path, exports, &object{
		"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIExport", "metadata": object{"name": "widgets"},
		"spec": object{"resources": []object{{"group": "example.io", "name": "widgets", "schema": "v1.widgets.example.io", "storage": object{"crd": object{}}}}},
	}))
}

// bindWidgets binds it and makes a widget.
func bindWidgets(t *testing.T, consumer, provider harness.Workspace) {
	t.Helper()
	eventually(t, "a binding in "+consumer.Path, func(ctx context.Context) error {
		return env.Admin().Create(ctx, consumer.Path, bindings, &object{
			"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIBinding", "metadata": object{"name": "widgets"},
			"spec": object{"reference": object{"export": object{"path": provider.Path, "name": "widgets"}}},
		})
	})
	makeWidget(t, consumer, "of-"+consumer.Shard)
}

func makeWidget(t *testing.T, consumer harness.Workspace, name string) {
	t.Helper()
	client, err := env.Admin().Dynamic(consumer.Path)
	check(t, err)
	eventually(t, "a widget in "+consumer.Path, func(ctx context.Context) error {
		_, err := client.Resource(widgets).Create(ctx, &unstructured.Unstructured{Object: object{"apiVersion": "example.io/v1", "kind": "Widget", "metadata": object{"name": name}}}, metav1.CreateOptions{})
		return err
	})
}

// endpoints returns the export's URLs by shard, once there are two.
func endpoints(t *testing.T, provider harness.Workspace) map[string]string {
	t.Helper()
	urls := map[string]string{}
	eventually(t, "the URLs of both shards", func(ctx context.Context) error {
		var slice struct {
			Status struct{ Endpoints []struct{ URL string } }
		}
		if err := env.Admin().Get(ctx, provider.Path, endpointSlices, "widgets", &slice); err != nil {
			return err
		}
		clear(urls)
		for _, e := range slice.Status.Endpoints {
			rest, ok := strings.CutPrefix(e.URL, env.Proxy.URL+"/shards/")
			if !ok {
				return fmt.Errorf("endpoint %s does not lead through the proxy", e.URL)
			}
			shard, _, _ := strings.Cut(rest, "/")
			urls[shard] = e.URL
		}
		if urls[shardOne] == "" || urls[shardTen] == "" {
			return fmt.Errorf("endpoints are %v", slice.Status.Endpoints)
		}
		return nil
	})
	return urls
}

// contentOfWidgets are the rights of a controller of the export.
func contentOfWidgets() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{Verbs: []string{"*"}, APIGroups: []string{"apis.kcp.io"}, Resources: []string{"apiexports/content"}, ResourceNames: []string{"widgets"}},
		{Verbs: []string{"access"}, NonResourceURLs: []string{"/"}},
	}
}

// at is a client of a virtual workspace as whoever c is.
func at(t *testing.T, c *harness.Client, url string) dynamic.Interface {
	t.Helper()
	config := rest.CopyConfig(c.Config("x"))
	config.Host = url
	client, err := dynamic.NewForConfig(config)
	check(t, err)
	return client
}

// TestVirtualWorkspacesOfEveryShard: an APIExport of shard-1 is bound on shard-1
// and on shard-10. The controller, a service account of shard-1, lists and
// watches what both have, at the URLs that kcp publishes, through the proxy. So
// do an account of a third shard and a user with a certificate.
func TestVirtualWorkspacesOfEveryShard(t *testing.T) {
	t.Parallel()
	provider := workspace(t, shardOne)
	exportWidgets(t, provider)
	consumers := map[string]harness.Workspace{}
	for _, shard := range []string{shardOne, shardTen} {
		consumers[shard] = workspace(t, shard)
		bindWidgets(t, consumers[shard], provider)
	}
	controller, stranger := newAccount(t, provider, "controller"), newAccount(t, consumers[shardTen], "stranger")
	grant(t, provider, contentOfWidgets(), rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: "controller"})

	third := newAccount(t, workspace(t, harness.RootShard), "third")
	carla, err := env.ClientCA.Client(t.TempDir(), "carla")
	check(t, err)
	for _, user := range []string{third.global(), "carla"} {
		grant(t, provider, contentOfWidgets(), harness.User(user))
	}

	for shard, url := range endpoints(t, provider) {
		client := at(t, env.Token(controller.token), url+"/clusters/*").Resource(widgets)
		var list *unstructured.UnstructuredList
		eventually(t, "the widget on "+shard, func(ctx context.Context) error {
			var err error
			if list, err = client.List(ctx, metav1.ListOptions{}); err == nil && len(list.Items) == 0 {
				err = fmt.Errorf("no widgets at %s", url)
			}
			return err
		})
		for who, c := range map[string]*harness.Client{"an account of a third shard": env.Token(third.token), "a certificate": env.Proxy.Certificate(carla, nil)} {
			eventually(t, who+" at "+url, func(ctx context.Context) error {
				list, err := at(t, c, url+"/clusters/*").Resource(widgets).List(ctx, metav1.ListOptions{})
				if err == nil && len(list.Items) != 1 {
					err = fmt.Errorf("it sees %d widgets", len(list.Items))
				}
				return err
			})
		}
		var names []string
		for _, o := range list.Items {
			names = append(names, o.GetName())
		}
		if !slices.Equal(names, []string{"of-" + shard}) {
			t.Errorf("on %s the controller sees %v", shard, names)
		}
		watch, err := client.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
		check(t, err)
		makeWidget(t, consumers[shard], "later")
		select {
		case e := <-watch.ResultChan():
			if o, ok := e.Object.(*unstructured.Unstructured); !ok || o.GetName() != "later" {
				t.Errorf("the watch on %s shows %+v", shard, e)
			}
		case <-time.After(settled):
			t.Errorf("the watch on %s shows nothing", shard)
		}
		watch.Stop()
		// One cluster through the same URL, to write there.
		one := at(t, env.Token(controller.token), url+"/clusters/"+consumers[shard].Cluster).Resource(widgets)
		// A shard's virtual workspace knows the bindings of one cluster later than
		// it lists their objects, and denies access until then.
		eventually(t, "to write through "+url, func(ctx context.Context) error {
			got, err := one.Get(ctx, "later", metav1.GetOptions{})
			if err != nil {
				return err
			}
			got.Object["spec"] = object{"seen": true}
			_, err = one.Update(ctx, got, metav1.UpdateOptions{})
			return err
		})
		_, err = at(t, env.Token(stranger.token), url+"/clusters/*").Resource(widgets).List(t.Context(), metav1.ListOptions{})
		wantStatus(t, "a stranger at "+url, err, http.StatusForbidden)
	}
}

// TestOnlyVirtualWorkspacesOfShards: the route leads nowhere but to virtual
// workspaces of shards there are, and not for those without an identity.
func TestOnlyVirtualWorkspacesOfShards(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]int{
		"/shards/shard-1/clusters/root/api":                  http.StatusNotFound,
		"/shards/shard-11/services/apiexport/x/y/clusters/*": http.StatusForbidden,
	} {
		wantStatus(t, path, env.Admin().Healthy(t.Context(), path), want)
	}
	err := env.Token("garbage").Healthy(t.Context(), "/shards/shard-1/services/initializingworkspaces/root:x/clusters/*/api")
	wantStatus(t, "a bad token", err, http.StatusUnauthorized)
}
