package across

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"frontproxy/e2e/harness"
)

var (
	configMaps      = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	logicalClusters = schema.GroupVersionResource{Group: "core.kcp.io", Version: "v1alpha1", Resource: "logicalclusters"}
)

// initialized is a logical cluster that is being made, in part.
type initialized struct {
	Status struct {
		Phase        string
		Initializers []string
		Conditions   []struct{ Type, Status, Reason, Message string }
	}
}

// TestInitializersOfAccountsWorkspaces: what of kcp issue 4038 initializerPermissions solve
// (kcp 0.32). They let a type's own initializer into a workspace that a service account has
// created. They help neither kcp's initializer of default APIBindings nor the account, and
// they leave the new workspace to whoever makes an account of the same name in it. The gate
// solves all of it. kcp 0.31 has no such permissions: there they change nothing.
func TestInitializersOfAccountsWorkspaces(t *testing.T) {
	t.Parallel()
	parent := workspace(t, shardOne)
	bot := newAccount(t, parent, "bot")
	permissions := []object{{"apiGroups": []string{""}, "resources": []string{"configmaps"}, "verbs": []string{"get", "list"}}}
	universal := object{"with": []object{{"path": "root", "name": "universal"}}}
	kinds := map[string]object{
		"plain":             {"initializer": true},
		"permitted":         {"initializer": true, "initializerPermissions": permissions},
		"permitted-binding": {"initializer": true, "initializerPermissions": permissions, "extend": universal},
	}
	for name, spec := range kinds {
		check(t, env.Admin().Create(t.Context(), parent.Path, harness.WorkspaceTypes, &object{
			"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "WorkspaceType", "metadata": object{"name": name}, "spec": spec,
		}))
	}
	use := rbacv1.PolicyRule{Verbs: []string{"use"}, APIGroups: []string{"tenancy.kcp.io"}, Resources: []string{"workspacetypes"}}
	for _, subject := range []rbacv1.Subject{harness.User(bot.global()), {Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: bot.name}} {
		grant(t, parent, append(mayCreate(), use), subject)
	}
	if !env.HasLifecycleGroups() {
		// kcp 0.31 asks, as this group and in the type's workspace, whether the initializer may
		// initialize, and gives the group no right to ask: the initializer's requests are 500.
		// From 0.32 on it has the right.
		grant(t, parent, []rbacv1.PolicyRule{
			{Verbs: []string{"create"}, APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}},
		}, rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "system:kcp:external-logical-cluster-admin"})
	}
	grant(t, parent, []rbacv1.PolicyRule{
		{Verbs: []string{"initialize"}, APIGroups: []string{"tenancy.kcp.io"}, Resources: []string{"workspacetypes"}},
		{Verbs: []string{"access"}, NonResourceURLs: []string{"/"}},
	}, harness.User("initializing-controller"))
	pair, err := env.ClientCA.Client(t.TempDir(), "initializing-controller")
	check(t, err)
	controller := env.Proxy.Certificate(pair, nil)
	gated := proxyWith(t, "initializers", append(acrossArgs(), gate)...)

	for _, tt := range []struct {
		name, kind string
		gate       bool
		// content: the type's initializer reaches the new workspace's content.
		content bool
		// phase: the workspace's when the type's initializer has finished.
		phase string
		// owner is in the workspace-admin binding of a workspace that becomes ready.
		owner string
	}{
		{name: "plain", kind: "plain", phase: "Ready", owner: bot.local()},
		{name: "plain-gate", kind: "plain", gate: true, content: true, phase: "Ready", owner: bot.global()},
		{name: "permitted", kind: "permitted", content: env.HasLifecycleGroups(), phase: "Ready", owner: bot.local()},
		{name: "permitted-gate", kind: "permitted", gate: true, content: true, phase: "Ready", owner: bot.global()},
		{name: "permitted-binding", kind: "permitted-binding", content: env.HasLifecycleGroups(), phase: "Initializing"},
		{name: "permitted-binding-gate", kind: "permitted-binding", gate: true, content: true, phase: "Ready", owner: bot.global()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := env.Token(bot.token)
			if tt.gate {
				c = gated.Token(bot.token)
			}
			child := createOfType(t, c, parent, tt.name, tt.kind)
			initializer := parent.Cluster + ":" + tt.kind
			vw := at(t, controller, env.Proxy.URL+"/shards/"+shardOne+"/services/initializingworkspaces/"+initializer+"/clusters/"+child.Cluster)
			eventually(t, "the initializer to see the logical cluster", func(ctx context.Context) error {
				_, err := vw.Resource(logicalClusters).Get(ctx, "cluster", metav1.GetOptions{})
				return err
			})
			wantContent(t, vw, tt.content)

			eventually(t, "the initializer to finish", func(ctx context.Context) error {
				left := initializersOf(t, child) // others finish meanwhile
				left = slices.DeleteFunc(left, func(s string) bool { return s == initializer })
				patch := fmt.Sprintf(`{"status":{"initializers":[%s]}}`, quoted(left))
				_, err := vw.Resource(logicalClusters).Patch(ctx, "cluster", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
				return err
			})
			if tt.phase != "Ready" {
				wantStuck(t, child)
				return
			}
			eventually(t, "workspace "+tt.name+" to be Ready", func(ctx context.Context) error {
				phase, _, err := phase(ctx, parent, tt.name)
				if err == nil && phase != "Ready" {
					err = &notReady{phase}
				}
				return err
			})
			wantAdministrator(t, bot, gated, child, tt.owner)
		})
	}
}

// createOfType has c make a workspace on shard-1, and waits until it is being initialized.
func createOfType(t *testing.T, c *harness.Client, parent harness.Workspace, name, kind string) harness.Workspace {
	t.Helper()
	eventually(t, "to create "+name, func(ctx context.Context) error {
		return c.Create(ctx, parent.Path, harness.Workspaces, &object{
			"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": object{"name": name},
			"spec": object{
				"type":     object{"path": parent.Path, "name": kind},
				"location": object{"selector": object{"matchLabels": object{"name": shardOne}}},
			},
		})
	})
	child := harness.Workspace{Path: parent.Path + ":" + name, Shard: shardOne}
	eventually(t, name+" to be initializing", func(ctx context.Context) error {
		now, cluster, err := phase(ctx, parent, name)
		if err == nil && (now != "Initializing" || cluster == "") {
			err = &notReady{now}
		}
		child.Cluster = cluster
		return err
	})
	return child
}

// wantContent: the initializer lists ConfigMaps, or is refused as the workspace's owner.
func wantContent(t *testing.T, vw dynamic.Interface, allowed bool) {
	t.Helper()
	if allowed {
		eventually(t, "the content", func(ctx context.Context) error {
			_, err := vw.Resource(configMaps).Namespace("default").List(ctx, metav1.ListOptions{})
			return err
		})
		return
	}
	eventually(t, "the owner to be refused", func(ctx context.Context) error {
		_, err := vw.Resource(configMaps).Namespace("default").List(ctx, metav1.ListOptions{})
		if status(err) != http.StatusForbidden || !strings.Contains(err.Error(), "system:serviceaccount:default:bot") {
			return &unexpected{err}
		}
		return nil
	})
}

// initializersOf are those that a logical cluster waits for.
func initializersOf(t *testing.T, child harness.Workspace) []string {
	t.Helper()
	var lc initialized
	check(t, env.ShardAdmin(env.Shard(child.Shard)).Get(t.Context(), child.Cluster, harness.LogicalClusters, "cluster", &lc))
	return lc.Status.Initializers
}

// wantStuck: kcp's own initializer is the only one left, and has failed.
func wantStuck(t *testing.T, child harness.Workspace) {
	t.Helper()
	eventually(t, "kcp to fail to bind the default APIs", func(ctx context.Context) error {
		var lc initialized
		if err := env.ShardAdmin(env.Shard(child.Shard)).Get(ctx, child.Cluster, harness.LogicalClusters, "cluster", &lc); err != nil {
			return err
		}
		if !slices.Equal(lc.Status.Initializers, []string{"system:apibindings"}) || lc.Status.Phase != "Initializing" {
			return fmt.Errorf("it is %+v", lc.Status)
		}
		for _, c := range lc.Status.Conditions {
			if c.Reason == "APIBindingErrors" {
				t.Logf("%s is stuck: %s", child.Path, c.Message)
				return nil
			}
		}
		if !env.HasLifecycleGroups() {
			return wantStuckInLog(child)
		}
		return fmt.Errorf("its conditions are %+v", lc.Status.Conditions)
	})
}

// wantStuckInLog: the shard has logged that kcp's initializer was refused as the workspace's
// owner. In kcp 0.31 the object does not say so: the write of the condition is refused, because
// "only removing the "system:apibindings" initializer is supported".
func wantStuckInLog(child harness.Workspace) error {
	log, err := os.ReadFile(filepath.Join(env.Logs(), "shard-"+child.Shard+".log"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, child.Cluster+"|cluster") && strings.Contains(line, "error initializing APIBindings") && strings.Contains(line, "system:serviceaccount:default:bot") {
			return nil
		}
	}
	return errors.New("nothing in the shard's log says that its APIBindings were refused")
}

// wantAdministrator: who is bound as the workspace's administrator, and who so is one: the
// account that created it, or one that somebody makes there under the same name.
func wantAdministrator(t *testing.T, creator account, p *harness.Proxy, child harness.Workspace, owner string) {
	t.Helper()
	admins, err := kubeOf(t, env.Admin(), child).RbacV1().ClusterRoleBindings().Get(t.Context(), "workspace-admin", metav1.GetOptions{})
	check(t, err)
	if len(admins.Subjects) != 1 || admins.Subjects[0].Name != owner {
		t.Errorf("the administrators of %s are %+v, want %s", child.Path, admins.Subjects, owner)
	}
	_, err = kubeOf(t, env.Admin(), child).CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) { // kcp makes it in some types only
		check(t, err)
	}
	namesake := newAccount(t, child, "bot")
	in, out := creator, namesake
	if owner == creator.local() {
		in, out = namesake, creator
	}
	eventually(t, "the administrator's rights", func(ctx context.Context) error { return listSecrets(ctx, kubeOf(t, p.Token(in.token), child)) })
	eventually(t, "a refusal for the other", func(ctx context.Context) error {
		if err := listSecrets(ctx, kubeOf(t, p.Token(out.token), child)); status(err) != http.StatusForbidden {
			return &unexpected{err}
		}
		return nil
	})
}

// quoted is a list of JSON strings.
func quoted(all []string) string {
	var b []string
	for _, s := range all {
		b = append(b, fmt.Sprintf("%q", s))
	}
	return strings.Join(b, ",")
}
