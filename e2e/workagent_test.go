package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"

	"frontproxy/e2e/harness"
)

// workAgent is the name of OCM's work agent in a workload execution cluster.
const workAgent = "system:serviceaccount:open-cluster-management-agent:klusterlet-work-sa"

// resourceOf are the resources of the kinds in deploy/kustomize.
var resourceOf = map[string]string{
	"Namespace": "namespaces", "Service": "services", "ServiceAccount": "serviceaccounts", "ConfigMap": "configmaps", "Deployment": "deployments",
	"PodDisruptionBudget": "poddisruptionbudgets", "NetworkPolicy": "networkpolicies",
}

// documents are the objects of YAML text.
func documents(t *testing.T, text string) (found []*unstructured.Unstructured) {
	t.Helper()
	for document := range strings.SplitSeq("\n"+text, "\n---\n") {
		object := map[string]any{}
		check(t, yaml.Unmarshal([]byte(document), &object))
		found = append(found, &unstructured.Unstructured{Object: object})
	}
	return found
}

func deployed(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "deploy", "kubestellar", file))
	check(t, err)
	return documents(t, string(text))
}

// as is object as its Go type.
func as[T any](t *testing.T, object *unstructured.Unstructured) *T {
	t.Helper()
	text, err := object.MarshalJSON()
	check(t, err)
	out := new(T)
	check(t, yaml.Unmarshal(text, out))
	return out
}

// applyRights creates RBAC objects, and namespaces, as kube's user.
func applyRights(t *testing.T, kube kubernetes.Interface, objects []*unstructured.Unstructured) {
	t.Helper()
	ctx, rbac := t.Context(), kube.RbacV1()
	for _, o := range objects {
		var err error
		switch o.GetKind() {
		case "Namespace":
			_, err = kube.CoreV1().Namespaces().Create(ctx, as[corev1.Namespace](t, o), metav1.CreateOptions{})
		case "ClusterRole":
			_, err = rbac.ClusterRoles().Create(ctx, as[rbacv1.ClusterRole](t, o), metav1.CreateOptions{})
		case "ClusterRoleBinding":
			_, err = rbac.ClusterRoleBindings().Create(ctx, as[rbacv1.ClusterRoleBinding](t, o), metav1.CreateOptions{})
		case "Role":
			_, err = rbac.Roles(o.GetNamespace()).Create(ctx, as[rbacv1.Role](t, o), metav1.CreateOptions{})
		case "RoleBinding":
			_, err = rbac.RoleBindings(o.GetNamespace()).Create(ctx, as[rbacv1.RoleBinding](t, o), metav1.CreateOptions{})
		default:
			t.Fatalf("%s is no right", o.GetKind())
		}
		check(t, err)
	}
}

// TestWorkAgentMayApplyTheManifestsAndNoMore: with each way to grant rights in
// deploy/kubestellar, OCM's work agent may do what each manifest needs, and is
// refused beyond that, by kcp's own RBAC authoriser in a workspace.
func TestWorkAgentMayApplyTheManifestsAndNoMore(t *testing.T) {
	t.Parallel()
	built, err := exec.Command(env.Binaries().Kubectl, "kustomize", "../deploy/kubestellar").Output()
	check(t, err)
	manifests := documents(t, string(built))
	aggregated := deployed(t, "aggregated.yaml")
	bound := &unstructured.Unstructured{Object: map[string]any{ // as OCM's own aggregated role is
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": map[string]any{"name": "aggregated"},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": aggregated[0].GetName()},
		"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": "klusterlet-work-sa", "namespace": "open-cluster-management-agent"}},
	}}
	o := newOrg(t, shardOne)
	for _, tt := range []struct {
		name   string
		rights []*unstructured.Unstructured
		// everywhere: what may be created in one namespace may be in all.
		everywhere bool
	}{
		{"aggregated", append(aggregated, bound), true},
		{"direct", deployed(t, "direct.yaml"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ws := o.workspace(tt.name, harness.TypeRef{}, shardOne)
			admin, err := env.Admin().Kube(ws.Path)
			check(t, err)
			applyRights(t, admin, tt.rights)
			check(t, env.Admin().Grant(t.Context(), ws.Path, "enter", []rbacv1.PolicyRule{{NonResourceURLs: []string{"/"}, Verbs: []string{"access"}}}, harness.User(workAgent)))
			w := &agentIn{t: t, admin: admin}
			w.reviewed(manifests, tt.everywhere)
			_, at := identityOf(t, workAgent)
			w.kube, err = at(env.Shard(shardOne)).Kube(ws.Cluster)
			check(t, err)
			w.attempts(tt.name == "direct")
			w.escalations(aggregated[0], tt.everywhere)
		})
	}
}

// agentIn is the work agent in a workspace.
type agentIn struct {
	t           *testing.T
	admin, kube kubernetes.Interface
}

func (w *agentIn) may(user, verb, group, resource, namespace, name string) bool {
	w.t.Helper()
	review, err := w.admin.AuthorizationV1().SubjectAccessReviews().Create(w.t.Context(), &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:open-cluster-management-agent", "system:authenticated"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: group, Resource: resource, Namespace: namespace, Name: name},
		},
	}, metav1.CreateOptions{})
	check(w.t, err)
	return review.Status.Allowed
}

// reviewed asks for every verb the work agent uses on every manifest, and for
// what it must not do.
func (w *agentIn) reviewed(manifests []*unstructured.Unstructured, everywhere bool) {
	t := w.t
	eventually(t, "the rights are known", func(ctx context.Context) error {
		if !w.may(workAgent, "create", "", "namespaces", "", "") {
			return errors.New("no right yet")
		}
		return nil
	})
	expect := func(want bool, verb, group, resource, namespace, name string) {
		t.Helper()
		got := w.may(workAgent, verb, group, resource, namespace, name)
		if got && !want && w.may("system:serviceaccount:open-cluster-management-agent:other", verb, group, resource, namespace, name) {
			return // kcp lets every service account do it (list ConfigMaps): no right of the agent's own
		}
		if got != want {
			t.Errorf("%s %s.%s %s/%s: allowed %v, want %v", verb, resource, group, namespace, name, got, want)
		}
	}
	for _, o := range manifests {
		group, resource := o.GroupVersionKind().Group, resourceOf[o.GetKind()]
		if resource == "" {
			t.Fatalf("%s is not in this test", o.GetKind())
		}
		expect(true, "create", group, resource, o.GetNamespace(), "")
		for _, verb := range []string{"get", "update", "patch", "delete"} {
			expect(true, verb, group, resource, o.GetNamespace(), o.GetName())
			expect(false, verb, group, resource, o.GetNamespace(), "another")
		}
		expect(false, "deletecollection", group, resource, o.GetNamespace(), "")
		expect(false, "list", group, resource, o.GetNamespace(), "")
		if o.GetNamespace() != "" {
			expect(everywhere, "create", group, resource, "kube-system", "")
			expect(everywhere, "update", group, resource, "kube-system", o.GetName())
		}
	}
	for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete"} {
		for _, namespace := range []string{"kcp", "kube-system", ""} {
			expect(false, verb, "", "secrets", namespace, "front-proxy-tls")
			expect(false, verb, "", "pods", namespace, "x")
		}
		for _, resource := range []string{"clusterroles", "clusterrolebindings", "roles", "rolebindings"} {
			expect(false, verb, "rbac.authorization.k8s.io", resource, "kcp", "x")
		}
	}
	for _, verb := range []string{"bind", "escalate"} {
		expect(false, verb, "rbac.authorization.k8s.io", "clusterroles", "", "cluster-admin")
		expect(false, verb, "rbac.authorization.k8s.io", "roles", "kcp", "x")
	}
	expect(false, "create", "", "pods/exec", "kcp", "")
	expect(false, "create", "", "serviceaccounts/token", "kcp", "front-proxy")
	expect(false, "impersonate", "", "users", "", "admin")
	expect(false, "impersonate", "", "serviceaccounts", "kcp", "front-proxy")
}

func (w *agentIn) allowed(what string, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Errorf("%s: %v, want it to be allowed", what, err)
	}
}

func (w *agentIn) refused(what string, err error) {
	w.t.Helper()
	if !apierrors.IsForbidden(err) {
		w.t.Errorf("%s: %v, want it to be forbidden", what, err)
	}
}

// attempts are real ones, with objects that a workspace serves.
func (w *agentIn) attempts(namespaceExists bool) {
	ctx, core, create := w.t.Context(), w.kube.CoreV1(), metav1.CreateOptions{}
	if !namespaceExists {
		_, err := core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kcp"}}, create)
		w.allowed("create the namespace", err)
	}
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "front-proxy-routing"}}
	_, err := core.ConfigMaps("kcp").Create(ctx, config, create)
	w.allowed("create the ConfigMap", err)
	config.Data = map[string]string{"mapping.yaml": "[]"}
	_, err = core.ConfigMaps("kcp").Update(ctx, config, metav1.UpdateOptions{})
	w.allowed("update the ConfigMap", err)
	_, err = core.ServiceAccounts("kcp").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "front-proxy"}}, create)
	w.allowed("create the ServiceAccount", err)
	w.allowed("delete the ConfigMap", core.ConfigMaps("kcp").Delete(ctx, config.Name, metav1.DeleteOptions{}))
	_, err = core.Secrets("kcp").Get(ctx, "x", metav1.GetOptions{})
	w.refused("get a Secret", err)
	_, err = core.Secrets("").List(ctx, metav1.ListOptions{})
	w.refused("list Secrets", err)
	w.refused("delete another namespace", core.Namespaces().Delete(ctx, "default", metav1.DeleteOptions{}))
}

// escalations: it may not write RBAC objects; and where it may (the third way,
// without OCM's `escalate` and `bind`), it can pass on only what it has.
func (w *agentIn) escalations(held *unstructured.Unstructured, holds bool) {
	t, ctx, create := w.t, w.t.Context(), metav1.CreateOptions{}
	role := func(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	}
	secrets := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Subjects: []rbacv1.Subject{harness.User(workAgent)},
		RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "power"}}
	_, err := w.admin.RbacV1().ClusterRoles().Create(ctx, role("power", harness.Everything()...), create)
	check(t, err)
	rbac := w.kube.RbacV1()
	_, err = rbac.ClusterRoles().Create(ctx, role("more", secrets), create)
	w.refused("make a role without any right to", err)
	_, err = rbac.ClusterRoleBindings().Create(ctx, binding, create)
	w.refused("bind itself without any right to", err)

	writer := role("rbac-writer", rbacv1.PolicyRule{APIGroups: []string{"rbac.authorization.k8s.io"}, Resources: []string{"clusterroles", "clusterrolebindings"},
		Verbs: []string{"get", "create", "update", "patch", "delete"}})
	_, err = w.admin.RbacV1().ClusterRoles().Create(ctx, writer, create)
	check(t, err)
	_, err = w.admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "rbac-writer"},
		Subjects: binding.Subjects, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: writer.Name}}, create)
	check(t, err)
	eventually(t, "the agent may write roles", func(ctx context.Context) error {
		_, err := rbac.ClusterRoles().Create(ctx, role("nothing"), create)
		return err
	})
	_, err = rbac.ClusterRoles().Create(ctx, role("more", secrets), create)
	w.refused("make a role of more than it has", err)
	_, err = rbac.ClusterRoles().Create(ctx, role("all", harness.Everything()...), create)
	w.refused("make a role of everything", err)
	_, err = rbac.ClusterRoleBindings().Create(ctx, binding, create)
	w.refused("bind itself to a role of everything", err)
	own := as[rbacv1.ClusterRole](t, held)
	own.Name, own.ResourceVersion = "same-again", ""
	_, err = rbac.ClusterRoles().Create(ctx, own, create)
	if holds {
		w.allowed("make a role of what it has", err)
	} else {
		w.refused("make a role of what it has in one namespace only", err)
	}
}
