package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/rest"

	"frontproxy/e2e/harness"
)

// frontProxy runs the binary's subcommands; it returns what they print and
// their exit status.
func frontProxy(t *testing.T, args ...string) (string, int) {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), env.Binaries().FrontProxy, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		return string(out), exit.ExitCode()
	}
	return string(out), 0
}

// kubeconfigOf writes one.
func kubeconfigOf(t *testing.T, config *rest.Config) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	check(t, harness.WriteKubeconfig(path, config))
	return path
}

// refusedID is the id in a refusal.
func refusedID(t *testing.T, c *harness.Client, cluster string) string {
	t.Helper()
	id, err := c.RefusalID(t.Context(), cluster)
	check(t, err)
	return id
}

// TestExplain: on a real kcp operators, by root's RBAC, and a workspace's own
// administrators, by that workspace's, are told why somebody was refused.
func TestExplain(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	o := newOrg(t, harness.RootShard)
	o.configure("a", trust(issuer))
	kind := o.kind("team", "a")
	mine, other := o.workspace("mine", kind, shardOne), o.workspace("other", kind, harness.RootShard)
	ada, bob := env.Token(token(issuer, "ada@example.com")), env.Token(token(issuer, "bob@example.com"))
	empower(t, ada, mine, harness.User("oidc:ada@example.com"))
	eventuallyIn(t, bob, mine.Path)

	old := issuer.Sign(expired())
	id, elsewhere := refusedID(t, env.Token(old), mine.Path), refusedID(t, env.Token(old), other.Path)
	admin := kubeconfigOf(t, env.Admin().Config("root"))
	_, atRoot := identityOf(t, "e2e-reader")
	readerConfig := atRoot(env.Shard(harness.RootShard)).Config("root")
	readerConfig.Host = env.Proxy.URL
	reader := kubeconfigOf(t, readerConfig)
	check(t, env.Admin().Grant(t.Context(), "root", "e2e-explain-reader", append(harness.AskWhoAmI(),
		rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/debug/explain"}}), harness.User("e2e-reader")))
	tokenFile := filepath.Join(t.TempDir(), "token")
	check(t, os.WriteFile(tokenFile, []byte(token(issuer, "ada@example.com", "devs")), 0o600))
	path := "--path=/clusters/" + mine.Path + "/api/v1/pods"

	eventually(t, "root to let e2e-reader read explanations", func(context.Context) error {
		if out, code := frontProxy(t, "explain", id, "--kubeconfig="+reader); code != 0 {
			return errors.New(out)
		}
		return nil
	})
	for _, tt := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"administrator of kcp", []string{id, "--kubeconfig=" + admin}, 0, []string{"refused (401)", "the token expired at", "shard              " + shardOne, "(logical cluster " + mine.Cluster + ")", ":team"}},
		{"who may only read", []string{id, "--kubeconfig=" + reader}, 0, []string{"the token expired at"}},
		{"who may only read asks about a token", []string{path, "--token-file=" + tokenFile, "--kubeconfig=" + reader}, 1, []string{`cannot post path "/debug/explain"`}},
		{"administrator of the workspace", []string{id, "--workspace", "--kubeconfig=" + kubeconfigOf(t, ada.Config(mine.Path))}, 0, []string{"the token expired at"}},
		{"about another workspace", []string{elsewhere, "--workspace", "--kubeconfig=" + kubeconfigOf(t, ada.Config(mine.Path))}, 1, []string{"no longer has refusal"}},
		{"where she has no role", []string{elsewhere, "--workspace", "--kubeconfig=" + kubeconfigOf(t, ada.Config(other.Path))}, 1, []string{"in this workspace"}},
		{"another user of the workspace", []string{id, "--workspace", "--kubeconfig=" + kubeconfigOf(t, bob.Config(mine.Path))}, 1, []string{`User "oidc:bob@example.com" cannot get path "/debug/explain" in this workspace`}},
		{"she asks as an operator", []string{id, "--kubeconfig=" + kubeconfigOf(t, ada.Config(mine.Path))}, 1, []string{"Unauthorized", "--workspace"}},
		{"a token in hand", []string{path, "--token-file=" + tokenFile, "--kubeconfig=" + admin}, 0, []string{"admitted (200)", "Forwarded as: oidc:ada@example.com", "cluster:" + mine.Cluster}},
	} {
		out, code := frontProxy(t, append([]string{"explain"}, tt.args...)...)
		if code != tt.code {
			t.Errorf("%s: exit %d, want %d:\n%s", tt.name, code, tt.code, out)
		}
		for _, want := range tt.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s lacks %q:\n%s", tt.name, want, out)
			}
		}
	}
}

// TestOwnersSeeTheStateOfConfigurations: the shard's RBAC says who may, in the workspace that has
// the configurations, for all of them or one.
func TestOwnersSeeTheStateOfConfigurations(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	o := newOrg(t, shardOne)
	o.configure("a", trust(issuer))
	o.configure("unused", trust(issuer))
	mine := o.workspace("mine", o.kind("team", "a"), harness.RootShard)
	eventuallyIn(t, env.Token(token(issuer, "ada@example.com")), mine.Path)
	refusedID(t, env.Token(issuer.Sign(expired())), mine.Path)

	check(t, env.Admin().Grant(t.Context(), o.Path, "e2e-reader-of-a", append(harness.AskWhoAmI(), rbacv1.PolicyRule{
		Verbs: []string{"get"}, APIGroups: []string{"tenancy.kcp.io"}, Resources: []string{"workspaceauthenticationconfigurations"}, ResourceNames: []string{"a"},
	}), harness.User("e2e-config-reader")))
	reader := kubeconfigOf(t, atProxy(t, env.Proxy, "e2e-config-reader").Config(o.Path))
	admin := kubeconfigOf(t, env.Admin().Config(o.Path))
	draft := filepath.Join(t.TempDir(), "draft.yaml")
	check(t, os.WriteFile(draft, fmt.Appendf(nil, `{"kind":"WorkspaceAuthenticationConfiguration","metadata":{"name":"a"},"spec":{"jwt":[{"issuer":{"url":%q,"audiences":["new"],"certificateAuthority":%q},"claimMappings":{"username":{"claim":"email","prefix":""}}}]}}`,
		issuer.URL(), issuer.CAPEM()), 0o600))
	tokenFile := filepath.Join(t.TempDir(), "token")
	check(t, os.WriteFile(tokenFile, []byte(token(issuer, "ada@example.com")), 0o600))

	eventually(t, "e2e-config-reader to have rights in "+o.Path, func(context.Context) error {
		if out, code := frontProxy(t, "explain", "--workspace", "--configuration=a", "--kubeconfig="+reader); code != 0 {
			return errors.New(out)
		}
		return nil
	})
	for name, tt := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"all":                              {[]string{"--kubeconfig=" + admin}, 0, []string{"a: Ready", "used by types team", "refused in the last hour: 1 for expired", `key "` + issuer.KeyID() + `"`, "unused: Unused"}},
		"one":                              {[]string{"--configuration=a", "--kubeconfig=" + reader}, 0, []string{"a: Ready", "1 for expired"}},
		"all, with the right for one":      {[]string{"--kubeconfig=" + reader}, 1, []string{`User "e2e-config-reader" cannot get resource`}},
		"another, with the right for one":  {[]string{"--configuration=unused", "--kubeconfig=" + reader}, 1, []string{`User "e2e-config-reader" cannot get resource`}},
		"a user of the type":               {[]string{"--kubeconfig=" + kubeconfigOf(t, env.Token(token(issuer, "ada@example.com")).Config(mine.Path))}, 1, []string{"cannot get resource"}},
		"a draft":                          {[]string{"--dry-run=" + draft, "--token-file=" + tokenFile, "--kubeconfig=" + admin}, 0, []string{"a: Ready", "The token: refused", `the configuration wants one of ["new"]`}},
		"a draft, with the right to read":  {[]string{"--dry-run=" + draft, "--kubeconfig=" + reader}, 1, []string{"cannot update resource"}},
		"a workspace without any of these": {[]string{"--kubeconfig=" + kubeconfigOf(t, env.Admin().Config(mine.Path))}, 0, []string{"has no WorkspaceAuthenticationConfigurations"}},
	} {
		out, code := frontProxy(t, append([]string{"explain", "--workspace"}, tt.args...)...)
		if code != tt.code {
			t.Errorf("%s: exit %d, want %d:\n%s", name, code, tt.code, out)
		}
		for _, want := range tt.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s lacks %q:\n%s", name, want, out)
			}
		}
	}
}

// TestShadow: between kcp-front-proxy and this proxy there is no difference but
// those on purpose.
func TestShadow(t *testing.T) {
	incumbent, err := env.NewProxy("proxy-incumbent", harness.ProxyOptions{Incumbent: true})
	check(t, err)
	check(t, incumbent.Start(t.Context()))
	t.Cleanup(func() { _ = incumbent.Stop() }) // it may not drain in time
	issuer := newIssuer(t)
	o := newOrg(t, harness.RootShard)
	o.configure("a", trust(issuer))
	one := o.workspace("one", o.kind("team", "a"), shardOne)
	plain := o.workspace("plain", harness.TypeRef{}, shardOne)
	ada := token(issuer, "ada@example.com", "devs")
	eventuallyIn(t, env.Token(ada), one.Path)
	eventuallyIn(t, incumbent.Token(ada), one.Path)
	eventually(t, "the incumbent to know "+plain.Path, func(ctx context.Context) error {
		_, err := incumbent.Admin().WhoAmI(ctx, plain.Path)
		return err
	})
	paths := filepath.Join(t.TempDir(), "paths")
	var lines []string
	for _, ws := range []harness.Workspace{one, plain} {
		for _, path := range []string{"/api/v1/namespaces", "/api/v1/configmaps", "/apis", "/api/v1/namespaces/none", "/apis/rbac.authorization.k8s.io/v1/clusterroles?limit=3"} {
			lines = append(lines, "/clusters/"+ws.Path+path)
		}
	}
	lines = append(lines, "/clusters/root:nowhere/api/v1/namespaces")
	check(t, os.WriteFile(paths, []byte(strings.Join(lines, "\n")), 0o600))
	args := []string{
		"shadow", "--incumbent=" + incumbent.URL, "--candidate=" + env.Proxy.URL, "--paths-file=" + paths,
		"--kubeconfig=" + kubeconfigOf(t, env.Admin().Config("root")), "--kubeconfig=" + kubeconfigOf(t, env.Token(ada).Config("root")),
	}
	out, code := frontProxy(t, args...)
	if code != 0 || !strings.Contains(out, "28 requests, 0 differences") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	// Where nothing is mapped kcp-front-proxy answers in plain text, and ours with
	// a Status: a difference on purpose.
	check(t, os.WriteFile(paths, []byte("/nothing\n"), 0o600))
	out, code = frontProxy(t, args...)
	if code != 1 || strings.Count(out, "body differs") != 2 || !strings.Contains(out, "/nothing as ") || !strings.Contains(out, "404 page not found") {
		t.Errorf("exit %d, want 1 and a difference for each user:\n%s", code, out)
	}
}
