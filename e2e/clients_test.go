package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"frontproxy/e2e/harness"
)

// events are what an informer's handlers were told, in order.
type events struct {
	mu  sync.Mutex // guards all
	all []string
}

func (e *events) add(what string, object any) {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	named, ok := object.(metav1.Object)
	if !ok || !strings.HasPrefix(named.GetName(), "e2e-") {
		return // kcp's own
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, what+" "+named.GetName())
}

func (e *events) want(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, "the informer to tell of everything", func(context.Context) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		if !slices.Equal(e.all, want) {
			return fmt.Errorf("it told %v, want %v", e.all, want)
		}
		return nil
	})
}

// TestInformer: client-go's informer of a workspace's user lists and watches,
// and goes on where it was after the proxy was started again.
func TestInformer(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	o := newOrg(t, harness.RootShard)
	o.configure("a", trust(issuer))
	ws := o.workspace("team", o.kind("team", "a"), shardOne)
	p := startProxy(t)
	ada := p.Token(token(issuer, "ada@example.com"))
	kube := empower(t, ada, ws, harness.User("oidc:ada@example.com"))
	straight, err := env.Admin().Kube(ws.Path)
	check(t, err)
	createConfigMap(t, straight, "e2e-before")

	var told events
	factory := informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithNamespace("default"))
	informer := factory.Core().V1().ConfigMaps()
	_, err = informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { told.add("added", o) },
		UpdateFunc: func(_, o any) { told.add("changed", o) },
		DeleteFunc: func(o any) { told.add("deleted", o) },
	})
	check(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer factory.Shutdown()
	defer stop()
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(t.Context().Done(), informer.Informer().HasSynced) {
		t.Fatal("the informer never synced")
	}
	configMaps := straight.CoreV1().ConfigMaps("default")
	change := func(name string) {
		cm, err := configMaps.Get(t.Context(), name, metav1.GetOptions{})
		check(t, err)
		cm.Data = map[string]string{"a": "b"}
		_, err = configMaps.Update(t.Context(), cm, metav1.UpdateOptions{})
		check(t, err)
	}
	createConfigMap(t, straight, "e2e-watched")
	change("e2e-watched")
	told.want(t, "added e2e-before", "added e2e-watched", "changed e2e-watched")

	_ = p.Stop() // the watch may not let it drain
	check(t, configMaps.Delete(t.Context(), "e2e-before", metav1.DeleteOptions{}))
	check(t, p.Start(t.Context()))
	createConfigMap(t, straight, "e2e-after")
	told.want(t, "added e2e-before", "added e2e-watched", "changed e2e-watched", "deleted e2e-before", "added e2e-after")
	cm, err := informer.Lister().ConfigMaps("default").Get("e2e-after")
	if err != nil || cm.Annotations["kcp.io/cluster"] != ws.Cluster {
		t.Errorf("the informer has %+v, %v, want an object of %s", cm, err, ws.Cluster)
	}
}

// TestHomeWorkspace: the first who asks for ~ gets a home workspace, and
// reaches it by user:<name>; nobody else does.
func TestHomeWorkspace(t *testing.T) {
	t.Parallel()
	const name = "erika-of-e2e"
	dir := t.TempDir()
	keys, err := env.ClientCA.Client(dir, name)
	check(t, err)
	stranger, err := env.ClientCA.Client(dir, "stranger-of-e2e")
	check(t, err)
	erika := env.Proxy.Certificate(keys, nil)
	if _, err := erika.WhoAmI(t.Context(), "user:"+name); status(err) != http.StatusForbidden {
		t.Errorf("before there is a home: %v, want 403", err)
	}
	var home tenancyv1alpha1.Workspace
	eventually(t, "the home workspace", func(ctx context.Context) error {
		return erika.Get(ctx, "root", harness.Workspaces, "~", &home)
	})
	for _, cluster := range []string{"user:" + name, home.Spec.Cluster} {
		eventually(t, "the right to write in "+cluster, func(ctx context.Context) error {
			kube, err := erika.Kube(cluster)
			if err != nil {
				return err
			}
			_, err = kube.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}}, metav1.CreateOptions{})
			return err
		})
	}
	if !strings.HasPrefix(home.Spec.URL, env.Proxy.URL+"/clusters/") {
		t.Errorf("kcp publishes %q, want a URL of the proxy", home.Spec.URL)
	}
	// What lies below it is reached by its path too.
	ws, err := erika.CreateWorkspace(t.Context(), "user:"+name, "below", harness.TypeRef{}, shardOne)
	check(t, err)
	eventually(t, "the workspace below it", func(ctx context.Context) error {
		var cluster struct{ Metadata metav1.ObjectMeta }
		if err := erika.Get(ctx, "user:"+name+":below", harness.LogicalClusters, "cluster", &cluster); err != nil {
			return err
		}
		if got := cluster.Metadata.Annotations["kcp.io/cluster"]; got != ws.Cluster {
			return fmt.Errorf("user:%s:below is cluster %s, want %s", name, got, ws.Cluster)
		}
		return nil
	})
	for _, cluster := range []string{"user:" + name, "user:" + name + ":below", home.Spec.Cluster} {
		if _, err := env.Proxy.Certificate(stranger, nil).WhoAmI(t.Context(), cluster); status(err) != http.StatusForbidden {
			t.Errorf("a stranger at %s: %v, want 403", cluster, err)
		}
	}
}

// TestKeptMetrics: after some traffic the page has kcp-front-proxy's names with
// their labels. The second proxy does not trust the shards' certificates.
func TestKeptMetrics(t *testing.T) {
	t.Parallel()
	p := startProxy(t)
	check(t, errors.Join(p.Admin().Healthy(t.Context(), "/clusters/root/api/v1/namespaces")))
	_, err := p.Admin().WhoAmI(t.Context(), "root")
	check(t, err)
	check(t, wantSeries(t.Context(), p,
		`proxy_request_duration_seconds_count{code="200",method="get"}`, `proxy_request_duration_seconds_bucket{code="201",method="post",le="`,
		`kcp_backend_rq_body_bytes{shard="root"}`, `kcp_backend_rs_body_bytes{shard="root"}`,
		`kcp_indexed_logicalclusters{shard="root"}`, `kcp_indexed_logicalclusters{shard="`+shardOne+`"}`,
	))

	text, err := os.ReadFile(filepath.Join(env.Dir, "proxy", "mapping.yaml"))
	check(t, err)
	mapping := file(t, "mapping.yaml", []byte(strings.ReplaceAll(string(text), env.ServingCA.File, env.ClientCA.File)))
	distrusts := startProxyNamed(t, "distrusts", "--mapping-file="+mapping)
	if _, err := distrusts.Admin().WhoAmI(t.Context(), "root"); status(err) != http.StatusBadGateway && status(err) != http.StatusServiceUnavailable {
		t.Errorf("a shard whose certificate is not trusted: %v", err)
	}
	check(t, wantSeries(t.Context(), distrusts, `kcp_listener_tls_connection_error{error_type="unknown_ca",shard="root"} 1`))
}
