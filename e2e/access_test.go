package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/e2e/harness"
)

// A type's users get into workspaces of that type on every shard, and nowhere
// else.
func TestUsersOfATypeGetIntoItsWorkspacesOnly(t *testing.T) {
	t.Parallel()
	issuerA, issuerB := newIssuer(t), newIssuer(t)
	o := newOrg(t, shardOne)
	o.configure("a", trust(issuerA))
	o.configure("b", trust(issuerB))
	kindA, kindB, kindBoth := o.kind("type-a", "a"), o.kind("type-b", "b"), o.kind("type-both", "a", "b")
	a0, a1 := o.workspace("a0", kindA, harness.RootShard), o.workspace("a1", kindA, shardOne)
	b0, b1 := o.workspace("b0", kindB, harness.RootShard), o.workspace("b1", kindB, shardOne)
	both := o.workspace("both", kindBoth, shardOne)
	plain := o.workspace("plain", harness.TypeRef{}, shardOne)

	ada := env.Token(token(issuerA, "ada@example.com", "developers", "testers"))
	bob := env.Token(token(issuerB, "bob@example.com"))
	for _, ws := range []harness.Workspace{a0, a1, both} {
		eventuallyIn(t, ada, ws.Path)
		for _, name := range []string{ws.Path, ws.Cluster} { // by path and by name
			wantIdentity(t, ada, name, identity(ws, "oidc:ada@example.com", "oidc:developers", "oidc:testers"))
		}
	}
	for _, ws := range []harness.Workspace{b0, b1, both} {
		eventuallyIn(t, bob, ws.Path)
		wantIdentity(t, bob, ws.Path, identity(ws, "oidc:bob@example.com"))
	}
	for _, elsewhere := range []string{b0.Path, b1.Cluster, plain.Path, o.Path, "root"} {
		wantStatus(t, ada, elsewhere, http.StatusUnauthorized)
	}
	for _, elsewhere := range []string{a0.Path, a1.Cluster, plain.Path, o.Path, "root"} {
		wantStatus(t, bob, elsewhere, http.StatusUnauthorized)
	}
}

// What a user may do is the workspace's own RBAC, by user and by group.
func TestRolesDecideInsideAWorkspace(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	o := newOrg(t, harness.RootShard)
	o.configure("a", trust(issuer))
	ws := o.workspace("team", o.kind("team", "a"), shardOne)
	empower(t, env.Token(token(issuer, "ada@example.com")), ws, harness.User("oidc:ada@example.com"))
	empower(t, env.Token(token(issuer, "dan@example.com", "developers")), ws, harness.Group("oidc:developers"))

	for _, c := range []struct {
		name, token string
		want        int
	}{
		{"by name", token(issuer, "ada@example.com"), http.StatusCreated},
		{"by group", token(issuer, "dot@example.com", "developers"), http.StatusCreated},
		{"by neither", token(issuer, "eve@example.com", "guests"), http.StatusForbidden},
		{"by a group of that name without the prefix", token(issuer, "eve@example.com", "oidc:developers"), http.StatusForbidden},
	} {
		kube, err := env.Token(c.token).Kube(ws.Path)
		check(t, err)
		_, err = kube.CoreV1().ConfigMaps("default").Create(t.Context(),
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}}, metav1.CreateOptions{})
		if got := status(err); got != c.want {
			t.Errorf("%s: create a ConfigMap: %v", c.name, unexpected{got: got, want: c.want, err: err})
		}
	}
}

// A client certificate works everywhere, with its own groups and no scope.
func TestAdministratorByCertificate(t *testing.T) {
	t.Parallel()
	o := newOrg(t, shardOne)
	for _, cluster := range []string{"root", o.Path, o.Cluster} {
		got, err := env.Admin().WhoAmI(t.Context(), cluster)
		check(t, err)
		delete(got.Extra, "authentication.kubernetes.io/credential-id") // of the certificate
		if len(got.Extra) == 0 {
			got.Extra = nil
		}
		compare(t, cluster, got, authenticationv1.UserInfo{
			Username: "kcp-admin", Groups: []string{"system:authenticated", "system:kcp:admin"},
		})
	}
}

// Of a cluster that does not exist nothing is said, whoever asks.
func TestUnknownCluster(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]*harness.Client{
		"administrator": env.Admin(), "garbage token": env.Token("garbage"), "nobody": env.Token(""),
	} {
		for _, cluster := range []string{"root:no-such-workspace", "nosuchcluster"} {
			_, err := client.WhoAmI(t.Context(), cluster)
			if got := status(err); got != http.StatusForbidden {
				t.Errorf("%s at %s: %v", name, cluster, unexpected{got: got, want: http.StatusForbidden, err: err})
			}
		}
	}
}

// kubectl as people use it.
func TestKubectl(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	o := newOrg(t, harness.RootShard)
	o.configure("a", trust(issuer))
	kind := o.kind("team", "a")
	mine, other := o.workspace("mine", kind, shardOne), o.workspace("other", kind, harness.RootShard)
	jwt := token(issuer, "ada@example.com", "developers")
	empower(t, env.Token(jwt), mine, harness.User("oidc:ada@example.com"))

	k := kubectl{t: t, dir: t.TempDir()}
	k.login("mine", mine.Path, jwt)
	k.login("other", other.Path, jwt)
	k.login("root", "root", jwt)
	var review authenticationv1.SelfSubjectReview
	out, err := k.run("mine", "auth", "whoami", "-o", "json")
	check(t, errors.Join(err, json.Unmarshal([]byte(out), &review)))
	compare(t, mine.Path, review.Status.UserInfo, identity(mine, "oidc:ada@example.com", "oidc:developers"))

	for _, c := range []struct {
		where, args, want string
		fails             bool
	}{
		{"mine", "create configmap e2e --from-literal=a=b", "created", false},
		{"mine", "get configmap e2e -o jsonpath={.data.a}", "b", false},
		{"mine", "label configmap e2e x=y", "labeled", false},
		{"mine", "api-resources", "configmaps", false},
		{"mine", "delete configmap e2e", "deleted", false},
		{"other", "get --raw /api/v1/namespaces/default/secrets", "Forbidden", true},
		{"root", "get --raw /api/v1/namespaces/default/secrets", "Unauthorized", true},
	} {
		out, err := k.run(c.where, strings.Fields(c.args)...)
		if (err != nil) != c.fails || !strings.Contains(out, c.want) {
			t.Errorf("kubectl %s in %s: failure %v, want %t, and %q in the output:\n%s", c.args, c.where, err, c.fails, c.want, out)
		}
	}
}

// TestKubectlSaysWhy: kubectl, which shows little of a Status, prints one warning for all that
// its discovery was refused.
func TestKubectlSaysWhy(t *testing.T) {
	t.Parallel()
	hers, others := newIssuer(t), newIssuer(t)
	o := newOrg(t, harness.RootShard)
	o.configure("a", trust(hers))
	o.configure("b", trust(others))
	kind := o.kind("team", "a")
	elsewhere := o.workspace("elsewhere", o.kind("others", "b"), harness.RootShard)
	noRole, err := env.Admin().CreateWorkspace(t.Context(), o.Path, "no-role", kind, shardOne)
	check(t, err)
	jwt := token(hers, "ada@example.com", "developers")
	eventuallyStatus(t, env.Token(jwt), elsewhere.Path, http.StatusUnauthorized)
	eventuallyStatus(t, env.Token(jwt), noRole.Path, http.StatusForbidden)

	k := kubectl{t: t, dir: t.TempDir()}
	k.login("elsewhere", elsewhere.Path, jwt)
	k.login("unknown", o.Path+":unknown", jwt)
	k.login("no-role", noRole.Path, jwt)
	noAccess := func(path string) string {
		return `Warning: workspace "` + path + `" does not exist, or you have no access to it`
	}
	for where, want := range map[string]string{
		"elsewhere": "Warning: Unauthorized: the token was not accepted; ", "unknown": noAccess(o.Path + ":unknown"), "no-role": noAccess(noRole.Path),
	} {
		out, err := k.run(where, "get", "configmaps")
		if err == nil || strings.Count(out, "Warning: ") != 1 || !strings.Contains(out, want) {
			t.Errorf("%s: %v, want the only warning %q in the output:\n%s", where, err, want, out)
		}
	}
}

// kubectl runs the real one with kubeconfigs in dir.
type kubectl struct {
	t   *testing.T
	dir string
}

func (k kubectl) login(name, cluster, token string) {
	k.t.Helper()
	check(k.t, harness.WriteKubeconfig(filepath.Join(k.dir, name), env.Token(token).Config(cluster)))
}

func (k kubectl) run(name string, args ...string) (string, error) {
	cmd := exec.CommandContext(context.WithoutCancel(k.t.Context()), env.Binaries().Kubectl,
		append([]string{"--kubeconfig", filepath.Join(k.dir, name)}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECACHEDIR="+filepath.Join(k.dir, "cache"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}
