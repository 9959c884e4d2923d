package across

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/e2e/harness"
)

var migrations = harness.Resource{Group: "migration.kcp.io", Version: "v1alpha1", Name: "logicalclustermigrations"}

// TestMoveThroughTheProxy: a shard copies a workspace from another through the proxy's
// route to that shard, since the shards' virtual workspace URLs are the proxy's.
func TestMoveThroughTheProxy(t *testing.T) {
	if !env.Migrates() {
		t.Skip("this kcp moves nothing")
	}
	org := workspace(t, harness.RootShard)
	ws, err := env.Admin().CreateWorkspace(t.Context(), org.Path, "moving", harness.TypeRef{}, harness.RootShard)
	check(t, err)
	before := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "before"}}
	_, err = kubeOf(t, env.Admin(), ws).CoreV1().ConfigMaps("default").Create(t.Context(), before, metav1.CreateOptions{})
	check(t, err)
	check(t, env.Admin().Create(t.Context(), org.Path, bindings, &object{
		"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIBinding", "metadata": object{"name": "migration"},
		"spec": object{"reference": object{"export": object{"path": "root", "name": "migration.kcp.io"}}},
	}))
	eventually(t, "to order the move", func(ctx context.Context) error {
		return env.Admin().Create(ctx, org.Path, migrations, &object{
			"apiVersion": "migration.kcp.io/v1alpha1", "kind": "LogicalClusterMigration", "metadata": object{"name": "move"},
			"spec": object{"logicalCluster": ws.Cluster, "destinationShard": shardOne},
		})
	})
	eventually(t, "the move", func(ctx context.Context) error {
		var m struct {
			Status struct {
				Phase      string
				Conditions []metav1.Condition
			}
		}
		err := env.Admin().Get(ctx, org.Path, migrations, "move", &m)
		if err == nil && m.Status.Phase != "Completed" {
			err = fmt.Errorf("its phase is %q: %v", m.Status.Phase, m.Status.Conditions)
		}
		return err
	})
	eventually(t, "the ConfigMap on the new shard", func(ctx context.Context) error {
		at, err := env.ShardAdmin(env.Shard(shardOne)).Kube(ws.Cluster)
		if err == nil {
			_, err = at.CoreV1().ConfigMaps("default").Get(ctx, "before", metav1.GetOptions{})
		}
		return err
	})
}
