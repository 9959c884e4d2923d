package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/e2e/harness"
)

// TestLifecycleGroups: to a shard, who is in an initializer's or a terminator's
// group may do everything in a workspace that is being made or deleted. Nobody
// gets such a group through the proxy.
func TestLifecycleGroups(t *testing.T) {
	t.Parallel()
	o := newOrg(t, shardOne)
	check(t, env.Admin().Create(t.Context(), o.Path, harness.WorkspaceTypes, &object{
		"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "WorkspaceType", "metadata": object{"name": "slow"},
		"spec": object{"initializer": true, "extend": object{"with": []object{{"path": "root", "name": "universal"}}}},
	}))
	eventually(t, "to create a workspace that nobody initializes", func(ctx context.Context) error {
		return env.Admin().Create(ctx, o.Path, harness.Workspaces, &object{
			"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": object{"name": "unfinished"},
			"spec": object{"type": object{"path": o.Path, "name": "slow"}, "location": object{"selector": object{"matchLabels": object{"name": shardOne}}}},
		})
	})
	var ws tenancyv1alpha1.Workspace
	eventually(t, "the workspace to be initializing", func(ctx context.Context) error {
		err := env.Admin().Get(ctx, o.Path, harness.Workspaces, "unfinished", &ws)
		if err == nil && (ws.Status.Phase != "Initializing" || ws.Spec.Cluster == "") {
			err = fmt.Errorf("its phase is %q", ws.Status.Phase)
		}
		return err
	})
	eventually(t, "the proxy to know the workspace", func(ctx context.Context) error {
		_, err := env.Admin().WhoAmI(ctx, ws.Spec.Cluster)
		return err
	})
	list := func(c *harness.Client) int {
		t.Helper()
		kube, err := c.Kube(ws.Spec.Cluster)
		check(t, err)
		_, err = kube.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{})
		if err == nil {
			return http.StatusOK
		}
		return status(err)
	}
	atShard := http.StatusForbidden
	if env.HasLifecycleGroups() {
		atShard = http.StatusOK
	}
	for _, group := range []string{"system:kcp:initializer:" + o.Path + ":slow", "system:kcp:terminator:" + o.Path + ":slow", "system:kcp:initializer:x"} {
		mallory, err := env.ClientCA.Client(t.TempDir(), "mallory", group)
		check(t, err)
		if got := list(env.AtShard(env.Shard(shardOne), mallory, nil)); got != atShard {
			t.Errorf("secrets for the group %s, straight at the shard: %d, want %d", group, got, atShard)
		}
		if got := list(env.Proxy.Certificate(mallory, nil)); got != http.StatusForbidden {
			t.Errorf("secrets for the group %s, through the proxy: %d, want 403", group, got)
		}
		for name, c := range map[string]*harness.Client{
			"headers":       env.Proxy.Certificate(mallory, http.Header{"X-Remote-User": {"mallory"}, "X-Remote-Group": {group}}),
			"impersonation": env.Proxy.Certificate(mallory, http.Header{"Impersonate-User": {"mallory"}, "Impersonate-Group": {group}}),
		} {
			if got := list(c); got != http.StatusForbidden {
				t.Errorf("secrets for the group %s in %s: %d, want 403", group, name, got)
			}
		}
	}
}
