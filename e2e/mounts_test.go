package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/e2e/harness"
)

type object = map[string]any

// mountOf makes a workspace below o that is mounted from o itself, and waits
// until it is ready. kcp takes the URL from any object's status, so o's
// LogicalCluster does. (A kind made for it in the same moment would end the
// shard, which panics until it has learnt of the kind.)
func (o org) mountOf(name string) (path string) {
	o.t.Helper()
	check(o.t, env.Admin().Create(o.t.Context(), o.Path, harness.Workspaces, &object{
		"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": object{"name": name},
		"spec": object{"mount": object{"ref": object{"apiVersion": "core.kcp.io/v1alpha1", "kind": "LogicalCluster", "name": "cluster"}}},
	}))
	eventually(o.t, "the mount "+name, func(ctx context.Context) error {
		var ws tenancyv1alpha1.Workspace
		if err := env.Admin().Get(ctx, o.Path, harness.Workspaces, name, &ws); err != nil {
			return err
		}
		if ws.Status.Phase != "Ready" || !strings.HasPrefix(ws.Spec.URL, env.Proxy.URL+"/clusters/") {
			return fmt.Errorf("its phase is %q, its URL %q", ws.Status.Phase, ws.Spec.URL)
		}
		return nil
	})
	return o.Path + ":" + name
}

// TestMountReentry: a shard that is asked for a mounted workspace by its path
// forwards the request to the proxy, with a certificate of its own, and says in
// headers who asked. The proxy lets that certificate assert it, and nobody gets
// more through it than at the proxy.
func TestMountReentry(t *testing.T) {
	t.Parallel()
	o := newOrg(t, harness.RootShard) // a shard knows paths that begin in one of its clusters
	check(t, env.Admin().Grant(t.Context(), o.Path, "carla-may-ask", harness.AskWhoAmI(), harness.User("carla")))
	check(t, env.Admin().Grant(t.Context(), o.Path, "staff-may-ask", append(harness.AskWhoAmI(), rbacv1.PolicyRule{
		Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"configmaps"},
	}), harness.Group("staff")))
	path := o.mountOf("mounted")
	carla, err := env.ClientCA.Client(t.TempDir(), "carla")
	check(t, err)
	eventuallyIn(t, env.Proxy.Certificate(carla, nil), path) // the proxy follows the mount itself

	at := func(user string, groups ...string) *harness.Client {
		return env.AtShard(env.Shard(harness.RootShard), env.ForwardingKeys(), http.Header{"X-Remote-User": {user}, "X-Remote-Group": groups})
	}
	if !env.ReentersMounts() {
		// Older shards come back without a certificate: the proxy takes the caller
		// for nobody.
		if got, err := at("carla").WhoAmI(t.Context(), path); err == nil && got.Username == "carla" {
			t.Error("a shard without a certificate of its own asserted somebody")
		}
		return
	}
	eventuallyIn(t, at("carla"), path)
	for who, c := range map[string]*harness.Client{"carla": at("carla"), "dora": at("dora", "staff")} {
		got, err := c.WhoAmI(t.Context(), path)
		check(t, err)
		if got.Username != who || len(got.Extra) > 0 {
			t.Errorf("through the shard %s is %+v", who, got)
		}
	}
	list := func(c *harness.Client, resource string) int {
		t.Helper()
		return status(c.Healthy(t.Context(), "/clusters/"+path+"/api/v1/namespaces/default/"+resource))
	}
	if got := list(at("dora", "staff"), "configmaps"); got != http.StatusCreated { // status's word for no error
		t.Errorf("what the group may: %d", got)
	}
	for name, c := range map[string]*harness.Client{
		"what neither may":             at("dora", "staff"),
		"a member of system:masters":   at("mallory", "system:masters"),
		"an admin of logical clusters": at("mallory", "system:kcp:logical-cluster-admin"),
	} {
		if got := list(c, "secrets"); got != http.StatusForbidden {
			t.Errorf("secrets for %s: %d, want 403", name, got)
		}
	}
	// The certificate is nobody without the headers.
	masters, err := env.ShardAdmin(env.Shard(harness.RootShard)).Kube(path)
	check(t, err)
	if _, err := masters.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); err == nil {
		t.Error("a request without headers, of a member of system:masters at the shard, was let in by the shard's certificate")
	}
}
