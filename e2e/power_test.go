package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"

	"frontproxy/e2e/harness"
)

// identityOf makes a kubeconfig of a user with a certificate and without
// groups, who is reached straight at the root shard.
func identityOf(t *testing.T, user string) (path string, at func(*harness.Shard) *harness.Client) {
	t.Helper()
	dir := t.TempDir()
	pair, err := env.ClientCA.Client(dir, user)
	check(t, err)
	config := func(url string) *rest.Config {
		return &rest.Config{Host: url, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: env.ServingCA.PEM, CertData: pair.Cert, KeyData: pair.Key}}
	}
	path = filepath.Join(dir, user+".kubeconfig")
	check(t, harness.WriteKubeconfig(path, config(env.Shard(harness.RootShard).URL)))
	return path, func(s *harness.Shard) *harness.Client { return harness.NewClient(config(s.URL)) }
}

// atProxy is a client of the proxy with a certificate of that user.
func atProxy(t *testing.T, p *harness.Proxy, user string, groups ...string) *harness.Client {
	t.Helper()
	pair, err := env.ClientCA.Client(t.TempDir(), user, groups...)
	check(t, err)
	return harness.NewClient(&rest.Config{Host: p.URL, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: env.ServingCA.PEM, CertData: pair.Cert, KeyData: pair.Key}})
}

// manifest applies a file of deploy/ as c in a cluster.
func manifest(t *testing.T, c *harness.Client, cluster, file string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "deploy", file))
	check(t, err)
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var object map[string]any
		check(t, yaml.Unmarshal([]byte(document), &object))
		resource := map[any]harness.Resource{"ClusterRole": harness.ClusterRoles, "ClusterRoleBinding": harness.ClusterRoleBindings}[object["kind"]]
		err := c.Create(t.Context(), cluster, resource, &object)
		if err != nil && !apierrors.IsAlreadyExists(err) {
			check(t, err)
		}
	}
}

// TestEachPowerDoesItsWork: with the manifests of deploy/rbac, the proxy's root
// identity and that of look-ups can do all that they are for, and are refused
// beyond it. The watches' identity is a member of system:masters: kcp v0.31 lets
// nobody else watch all workspaces at once.
func TestEachPowerDoesItsWork(t *testing.T) {
	t.Parallel()
	root, atRoot := identityOf(t, "front-proxy-root")
	lookUps, atLookUps := identityOf(t, "front-proxy-look-ups")
	manifest(t, env.Admin(), "root", "rbac/root.yaml")
	o := newOrg(t, shardOne)
	ws := o.workspace("team", harness.TypeRef{}, shardOne)
	for _, shard := range []string{harness.RootShard, shardOne} {
		manifest(t, env.ShardAdmin(env.Shard(shard)), "system:admin", "rbac/look-ups.yaml")
	}

	proxy, err := env.NewProxy("proxy-power", harness.ProxyOptions{Args: []string{
		"--root-kubeconfig=" + root, "--service-account-lookup-kubeconfig=" + lookUps,
		"--service-account-key-file=" + env.Shard(shardOne).ServiceAccountKey.CertFile,
	}})
	check(t, err)
	check(t, proxy.Start(t.Context())) // ready: every shard was found and read
	t.Cleanup(func() { check(t, proxy.Stop()) })

	t.Run("a service account is looked up at its home", func(t *testing.T) {
		kube, err := proxy.Admin().Kube(ws.Path)
		check(t, err)
		_, err = kube.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
		check(t, err)
		token, err := kube.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		check(t, err)
		robot := proxy.Token(token.Status.Token)
		eventuallyIn(t, robot, ws.Path)
		check(t, kube.CoreV1().ServiceAccounts("default").Delete(t.Context(), "robot", metav1.DeleteOptions{}))
		eventuallyStatus(t, robot, ws.Path, http.StatusUnauthorized)
	})
	t.Run("metrics are reviewed in root", func(t *testing.T) {
		if err := proxy.Admin().Healthy(t.Context(), "/metrics"); err != nil {
			t.Errorf("the administrator may read metrics everywhere: %v", err)
		}
		reader, stranger := atProxy(t, proxy, "front-proxy-metrics"), atProxy(t, proxy, "front-proxy-stranger")
		if err := reader.Healthy(t.Context(), "/metrics"); !apierrors.IsForbidden(err) {
			t.Errorf("metrics without the binding: %v, want it to be forbidden", err)
		}
		manifest(t, env.Admin(), "root", "rbac/metrics-reader.yaml")
		if err := harness.Eventually(t.Context(), time.Minute, "metrics with the binding", func(ctx context.Context) error {
			return reader.Healthy(ctx, "/metrics") // a no is kept for 30 s
		}); err != nil {
			t.Error(err)
		}
		if err := stranger.Healthy(t.Context(), "/metrics"); !apierrors.IsForbidden(err) {
			t.Errorf("metrics for another: %v, want it to be forbidden", err)
		}
	})
	t.Run("operators look into the proxy", func(t *testing.T) {
		operator, stranger := atProxy(t, proxy, "olga", "front-proxy-operators"), atProxy(t, proxy, "oscar")
		manifest(t, env.Admin(), "root", "rbac/operators.yaml")
		kubeconfig := kubeconfigOf(t, operator.Config("root"))
		tokenFile := filepath.Join(t.TempDir(), "token")
		check(t, os.WriteFile(tokenFile, []byte("no-token-of-anybody"), 0o600))
		for _, page := range []string{"/statusz", "/flagz", "/metrics"} {
			if err := harness.Eventually(t.Context(), time.Minute, page+" for operators", func(ctx context.Context) error {
				return operator.Healthy(ctx, page)
			}); err != nil {
				t.Error(err)
			}
			if err := stranger.Healthy(t.Context(), page); !apierrors.IsForbidden(err) {
				t.Errorf("%s for another: %v, want it to be forbidden", page, err)
			}
		}
		if out, code := frontProxy(t, "explain", "--path=/clusters/root/api", "--token-file="+tokenFile, "--kubeconfig="+kubeconfig); code != 0 {
			t.Errorf("explain of a credential: exit status %d: %s", code, out)
		}
	})

	shard, one := env.Shard(harness.RootShard), env.Shard(shardOne)
	allowed := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v, want it to be allowed", what, err)
		}
	}
	refused := func(what string, err error) {
		t.Helper()
		if !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v, want it to be forbidden", what, err)
		}
	}
	ctx := t.Context()
	r := atRoot(shard)
	exports := harness.Resource{Group: "apis.kcp.io", Version: "v1alpha2", Name: "apiexports"}
	reviews := harness.Resource{Group: "authorization.k8s.io", Version: "v1", Name: "subjectaccessreviews"}
	allowed("root identity: get a Shard", r.Get(ctx, "root", harness.Shards, shardOne, nil))
	allowed("root identity: get the APIExport tenancy.kcp.io", r.Get(ctx, "root", exports, "tenancy.kcp.io", nil))
	allowed("root identity: a review", r.Create(ctx, "root", reviews, &authorizationv1.SubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SubjectAccessReview"},
		Spec:     authorizationv1.SubjectAccessReviewSpec{User: "x", NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"}},
	}))
	refused("root identity: patch a Shard", r.Patch(ctx, "root", harness.Shards, shardOne, `{"spec":{"baseURL":"https://evil.example"}}`))
	refused("root identity: another APIExport", r.Get(ctx, "root", exports, "apiresource.kcp.io", nil))
	refused("root identity: secrets of root", secret(ctx, r, "root"))
	refused("root identity: roles of root", r.Get(ctx, "root", harness.ClusterRoles, "front-proxy:root", nil))
	refused("root identity: another workspace", secret(ctx, r, o.Cluster))
	refused("root identity: everything at once", r.Healthy(ctx, "/clusters/*/apis/core.kcp.io/v1alpha1/logicalclusters"))
	refused("root identity: another's review", atRoot(one).Create(ctx, ws.Cluster, reviews, &authorizationv1.SubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SubjectAccessReview"},
		Spec:     authorizationv1.SubjectAccessReviewSpec{User: "x", NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/", Verb: "get"}},
	}))

	l := atLookUps(one)
	allowed("look-ups: get a service account", l.Healthy(ctx, "/clusters/"+ws.Cluster+"/api/v1/namespaces/default/serviceaccounts/default"))
	if err := secret(ctx, l, ws.Cluster); !apierrors.IsNotFound(err) {
		t.Errorf("look-ups: get a Secret that does not exist: %v, want not found", err)
	}
	// The keys come as another type than the JSON this client asks for.
	if err := l.Healthy(ctx, "/clusters/"+ws.Cluster+"/openid/v1/jwks"); !apierrors.IsNotAcceptable(err) {
		t.Errorf("look-ups: the shard's public keys: %v, want it to be allowed", err)
	}
	refused("look-ups: list Secrets", l.Healthy(ctx, "/clusters/"+ws.Cluster+"/api/v1/namespaces/default/secrets"))
	refused("look-ups: list service accounts", l.Healthy(ctx, "/clusters/"+ws.Cluster+"/api/v1/serviceaccounts"))
	refused("look-ups: ConfigMaps", l.Healthy(ctx, "/clusters/"+ws.Cluster+"/api/v1/namespaces/default/configmaps/x"))
	refused("look-ups: everything at once", l.Healthy(ctx, "/clusters/*/api/v1/secrets"))
	refused("look-ups: Shards", atLookUps(shard).Get(ctx, "root", harness.Shards, shardOne, nil))
	refused("look-ups: make a role", l.Create(ctx, ws.Cluster, harness.ClusterRoles, &rbacv1.ClusterRole{
		TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole"}, ObjectMeta: metav1.ObjectMeta{Name: "x"}}))
	watches := env.ShardAdmin(one)
	allowed("watches: everything at once", watches.Healthy(ctx, "/clusters/*/apis/core.kcp.io/v1alpha1/logicalclusters"))
}

// secret reads a Secret that does not exist.
func secret(ctx context.Context, c *harness.Client, cluster string) error {
	return c.Healthy(ctx, fmt.Sprintf("/clusters/%s/api/v1/namespaces/default/secrets/none", cluster))
}
