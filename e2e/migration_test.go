package e2e

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/e2e/harness"
)

var (
	apiExports  = harness.Resource{Group: "apis.kcp.io", Version: "v1alpha2", Name: "apiexports"}
	apiBindings = harness.Resource{Group: "apis.kcp.io", Version: "v1alpha2", Name: "apibindings"}
	migrations  = harness.Resource{Group: "migration.kcp.io", Version: "v1alpha1", Name: "logicalclustermigrations"}
)

// TestMigration: kcp moves a workspace from one shard to the other, while its
// users and its administrator use it. Each request reaches the shard that has
// it, or is told to come back.
func TestMigration(t *testing.T) {
	t.Parallel()
	if !env.Migrates() {
		if err := env.Admin().Get(t.Context(), "root", apiExports, "migration.kcp.io", nil); status(err) != http.StatusNotFound {
			t.Errorf("a kcp without the feature gate exports migrations: %v", err)
		}
		return
	}
	issuer := newIssuer(t)
	o := newOrg(t, harness.RootShard)
	o.configure("a", trust(issuer))
	ws := o.workspace("moving", o.kind("team", "a"), harness.RootShard)
	ada := env.Token(token(issuer, "ada@example.com", "devs"))
	eventuallyIn(t, ada, ws.Path)
	kube, err := env.Admin().Kube(ws.Path)
	check(t, err)
	createConfigMap(t, kube, "before")

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var users sync.WaitGroup
	answers := make([]map[int]int, 2) // how often, by status
	for n, cluster := range []string{ws.Path, ws.Cluster} {
		answers[n] = map[int]int{}
		users.Go(func() {
			for ctx.Err() == nil {
				got, err := ada.WhoAmI(ctx, cluster)
				if ctx.Err() != nil {
					return
				}
				answers[n][status(err)]++
				switch status(err) {
				case http.StatusCreated:
					if got.Username != "oidc:ada@example.com" {
						t.Errorf("during the move, in %s, she is %+v", cluster, got)
					}
				case http.StatusServiceUnavailable: // come back
				case http.StatusGatewayTimeout: // the shard cut off what was under way
				default:
					t.Errorf("during the move, in %s: %v", cluster, err)
				}
				time.Sleep(10 * time.Millisecond) // not a flood
			}
		})
	}

	bindMigrations(t, o)
	moveTo(t, o, "move", ws, shardOne)
	createConfigMapSoon(t, ws, "after")
	eventuallyIn(t, ada, ws.Path)
	stop()
	users.Wait()
	t.Logf("answers by path %v, by name %v", answers[0], answers[1])
	wantIdentity(t, ada, ws.Path, identity(ws, "oidc:ada@example.com", "oidc:devs"))

	has := func(shard, name string) error {
		at, err := env.ShardAdmin(env.Shard(shard)).Kube(ws.Cluster)
		check(t, err)
		_, err = at.CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{})
		return err
	}
	for _, name := range []string{"before", "after"} {
		if err := has(shardOne, name); err != nil {
			t.Errorf("ConfigMap %s on the new shard: %v", name, err)
		}
	}
	if err := has(harness.RootShard, "after"); err == nil {
		t.Error("the ConfigMap that was made after the move is on the old shard")
	}
	list, err := kube.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	check(t, err)
	var names []string
	for _, c := range list.Items {
		names = append(names, c.Name)
	}
	if all := strings.Join(names, " "); !strings.Contains(all, "before") || !strings.Contains(all, "after") {
		t.Errorf("through the proxy its ConfigMaps are %s", all)
	}
}

// createConfigMapSoon makes one as soon as the proxy sends the request to a
// shard that takes it.
func createConfigMapSoon(t *testing.T, ws harness.Workspace, name string) {
	t.Helper()
	kube, err := env.Admin().Kube(ws.Path)
	check(t, err)
	eventually(t, "to create a ConfigMap in "+ws.Path, func(ctx context.Context) error {
		_, err := kube.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	})
}
