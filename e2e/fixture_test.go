package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
)

const (
	// audience is what the tests' configurations ask for.
	audience = "e2e"
	// prefix is what ordinary configurations put before names and groups.
	prefix = "oidc:"
	// settled is how long a change may take to reach the proxy on a busy
	// machine; unloaded it is below a second.
	settled = time.Minute
)

// org is a workspace below root with types and workspaces of one test.
type org struct {
	harness.Workspace
	t *testing.T
}

// newOrg makes one on the given shard.
func newOrg(t *testing.T, shard string) org {
	t.Helper()
	name := "e2e-" + strings.ToLower(rand.Text()[:10])
	ws, err := env.Admin().CreateWorkspace(t.Context(), "root", name, harness.TypeRef{}, shard)
	check(t, err)
	return org{Workspace: ws, t: t}
}

// configure makes an authentication configuration.
func (o org) configure(name string, jwt ...tenancyv1alpha1.JWTAuthenticator) {
	o.t.Helper()
	check(o.t, env.Admin().CreateAuthConfiguration(o.t.Context(), o.Path, name, jwt...))
}

// kind makes a workspace type that names configurations.
func (o org) kind(name string, configurations ...string) harness.TypeRef {
	o.t.Helper()
	check(o.t, env.Admin().CreateType(o.t.Context(), o.Path, name, configurations...))
	return harness.TypeRef{Path: o.Path, Name: name}
}

// workspace makes a workspace in which everybody the shard takes for
// authenticated may ask who they are and watch ConfigMaps, and nothing else.
// Whoever is let in to ask (eventuallyIn) may also watch: it is one role.
func (o org) workspace(name string, kind harness.TypeRef, shard string) harness.Workspace {
	o.t.Helper()
	ws, err := o.makeWorkspace(o.t.Context(), name, kind, shard)
	check(o.t, err)
	return ws
}

// makeWorkspace is workspace for use outside the test's goroutine.
func (o org) makeWorkspace(ctx context.Context, name string, kind harness.TypeRef, shard string) (harness.Workspace, error) {
	ws, err := env.Admin().CreateWorkspace(ctx, o.Path, name, kind, shard)
	if err != nil {
		return ws, err
	}
	rules := append(harness.AskWhoAmI(), rbacv1.PolicyRule{Verbs: []string{"list", "watch"}, APIGroups: []string{""}, Resources: []string{"configmaps"}})
	return ws, env.Admin().Grant(ctx, ws.Path, "e2e-everybody", rules, harness.Group("system:authenticated"))
}

// empower gives subject every right in a workspace and waits until the shard
// grants it to c, who is that user or in that group.
func empower(t *testing.T, c *harness.Client, ws harness.Workspace, subject rbacv1.Subject) kubernetes.Interface {
	t.Helper()
	check(t, env.Admin().Grant(t.Context(), ws.Path, strings.ToLower(rand.Text()), harness.Everything(), subject))
	kube, err := c.Kube(ws.Path)
	check(t, err)
	eventually(t, subject.Name+" to have rights in "+ws.Path, func(ctx context.Context) error {
		_, err := kube.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{})
		return err
	})
	return kube
}

// newIssuer starts an issuer that ends with the test.
func newIssuer(t *testing.T) *issuertest.Issuer {
	t.Helper()
	issuer, err := issuertest.New(issuertest.Options{})
	check(t, err)
	t.Cleanup(issuer.Close)
	return issuer
}

// trust is an ordinary configuration for an issuer: user name from email,
// groups from groups, both prefixed.
func trust(issuer *issuertest.Issuer) tenancyv1alpha1.JWTAuthenticator {
	return trustWith(issuer, prefix)
}

// trustWith is trust with another prefix for names and groups.
func trustWith(issuer *issuertest.Issuer, prefix string) tenancyv1alpha1.JWTAuthenticator {
	return tenancyv1alpha1.JWTAuthenticator{
		Issuer: tenancyv1alpha1.Issuer{URL: issuer.URL(), Audiences: []string{audience}, CertificateAuthority: issuer.CAPEM()},
		ClaimMappings: tenancyv1alpha1.ClaimMappings{
			Username: tenancyv1alpha1.PrefixedClaimOrExpression{Claim: "email", Prefix: &prefix},
			Groups:   tenancyv1alpha1.PrefixedClaimOrExpression{Claim: "groups", Prefix: &prefix},
		},
	}
}

// token is a good token for a user and groups.
func token(issuer *issuertest.Issuer, user string, groups ...string) string {
	return issuer.Sign(claims(user, groups...))
}

// claims are those of a good token; where an issuer's users are told by email.
func claims(user string, groups ...string) issuertest.Claims {
	return issuertest.Claims{"aud": []string{audience}, "email": user, "groups": groups}
}

// identity is what a shard must say of a workspace user, exactly.
func identity(ws harness.Workspace, user string, groups ...string) authenticationv1.UserInfo {
	groups = append(groups, "system:authenticated")
	slices.Sort(groups)
	return authenticationv1.UserInfo{
		Username: user,
		Groups:   groups,
		Extra: map[string]authenticationv1.ExtraValue{
			"authentication.kcp.io/scopes":       {"cluster:" + ws.Cluster},
			"authentication.kcp.io/cluster-name": {ws.Cluster},
		},
	}
}

// wantIdentity asks the shard through the proxy and compares.
func wantIdentity(t *testing.T, c *harness.Client, cluster string, want authenticationv1.UserInfo) {
	t.Helper()
	got, err := c.WhoAmI(t.Context(), cluster)
	check(t, err)
	compare(t, cluster, got, want)
}

func compare(t *testing.T, cluster string, got, want authenticationv1.UserInfo) {
	t.Helper()
	slices.Sort(got.Groups)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("who the shard takes the caller for in %s (-want +got):\n%s", cluster, diff)
	}
}

// eventuallyIn waits until the user is let into a workspace; for use once a
// configuration was made or changed.
func eventuallyIn(t *testing.T, c *harness.Client, cluster string) {
	t.Helper()
	eventually(t, "the user to be let into "+cluster, func(ctx context.Context) error {
		_, err := c.WhoAmI(ctx, cluster)
		return err
	})
}

// eventuallyStatus waits until asking who one is in cluster is answered with
// an HTTP status.
func eventuallyStatus(t *testing.T, c *harness.Client, cluster string, want int) {
	t.Helper()
	eventually(t, http.StatusText(want)+" from "+cluster, func(ctx context.Context) error {
		_, err := c.WhoAmI(ctx, cluster)
		if got := status(err); got != want {
			return unexpected{got: got, want: want, err: err}
		}
		return nil
	})
}

func eventually(t *testing.T, what string, f func(context.Context) error) {
	t.Helper()
	if err := harness.Eventually(t.Context(), settled, what, f); err != nil {
		t.Fatalf("%v (logs: %s)", err, env.Logs())
	}
}

// wantStatus asks who one is and wants an HTTP status.
func wantStatus(t *testing.T, c *harness.Client, cluster string, want int) {
	t.Helper()
	_, err := c.WhoAmI(t.Context(), cluster)
	if got := status(err); got != want {
		t.Errorf("asking who one is in %s: %v (logs: %s)", cluster, unexpected{got: got, want: want, err: err}, env.Logs())
	}
}

// status is the HTTP status of an answer by client-go's error; 0 for none.
func status(err error) int {
	if err == nil {
		return http.StatusCreated
	}
	var answer apierrors.APIStatus
	if errors.As(err, &answer) {
		return int(answer.Status().Code)
	}
	return 0
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (logs: %s)", err, env.Logs())
	}
}

// unexpected is an answer with another status than wanted.
type unexpected struct {
	got, want int
	err       error
}

func (u unexpected) Error() string {
	return fmt.Sprintf("status %d, want %d: %v", u.got, u.want, u.err)
}
