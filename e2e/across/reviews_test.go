package across

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	tokenwebhook "k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
)

const reviewGate = "--feature-gates=WorkspaceTokenReviews=true"

// mayReview is what a controller needs that verifies tokens.
func mayReview() []rbacv1.PolicyRule {
	return append(harness.AskWhoAmI(), rbacv1.PolicyRule{Verbs: []string{"create"}, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}})
}

// webhookAt is kube-apiserver's own webhook authenticator, whose kubeconfig names the
// TokenReviews of a workspace, and whose client has a token.
func webhookAt(t *testing.T, p *harness.Proxy, ws harness.Workspace, token string) authenticator.Token {
	t.Helper()
	at := p.Token(token).Config(ws.Path)
	config := clientcmdapi.NewConfig()
	config.Clusters["x"] = &clientcmdapi.Cluster{Server: at.Host + "/apis/authentication.k8s.io/v1/tokenreviews", CertificateAuthorityData: at.CAData}
	config.AuthInfos["x"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "x", AuthInfo: "x"}
	config.CurrentContext = "x"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	check(t, clientcmd.WriteToFile(*config, file))
	loaded, err := webhookutil.LoadKubeconfig(file, nil)
	check(t, err)
	w, err := tokenwebhook.New(loaded, "v1", authenticator.Audiences{"https://kcp.default.svc"}, wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Steps: 3})
	check(t, err)
	return w
}

// asked is what a webhook says of a token.
type asked struct {
	User      user.Info
	Audiences authenticator.Audiences
}

func ask(ctx context.Context, w authenticator.Token, token string, audiences ...string) (asked, error) {
	env.Token(token) // no log may hold it
	if len(audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, audiences)
	}
	response, ok, err := w.AuthenticateToken(ctx, token)
	if err != nil || !ok {
		return asked{}, err
	}
	return asked{response.User, response.Audiences}, nil
}

func review(ctx context.Context, kube kubernetes.Interface, token string, audiences ...string) (authenticationv1.TokenReviewStatus, error) {
	env.Token(token)
	r, err := kube.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.TokenReviewStatus{}, err
	}
	return r.Status, nil
}

// tokenFor is one of the account's for an audience.
func (a account) tokenFor(t *testing.T, audience string) string {
	t.Helper()
	request, err := kubeOf(t, env.Admin(), a.home).CoreV1().ServiceAccounts("default").CreateToken(t.Context(), a.name, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}, metav1.CreateOptions{})
	check(t, err)
	return request.Status.Token
}

// reviewScene is a workspace on one shard whose type, on another, has two issuers, and a
// controller in it that may review tokens.
type reviewScene struct {
	proxy            *harness.Proxy
	ws               harness.Workspace
	one, two         *issuertest.Issuer
	controller, weak account
}

func newReviewScene(t *testing.T, proxy string) *reviewScene {
	t.Helper()
	s := &reviewScene{proxy: proxyWith(t, proxy, append(acrossArgs(), reviewGate)...)}
	org := workspace(t, shardOne)
	prefix := "oidc:"
	for n, issuer := range []**issuertest.Issuer{&s.one, &s.two} {
		var err error
		*issuer, err = issuertest.New(issuertest.Options{})
		check(t, err)
		t.Cleanup((*issuer).Close)
		check(t, env.Admin().CreateAuthConfiguration(t.Context(), org.Path, fmt.Sprint("issuer-", n), tenancyv1alpha1.JWTAuthenticator{
			Issuer:        tenancyv1alpha1.Issuer{URL: (*issuer).URL(), Audiences: []string{"e2e"}, CertificateAuthority: (*issuer).CAPEM()},
			ClaimMappings: tenancyv1alpha1.ClaimMappings{Username: tenancyv1alpha1.PrefixedClaimOrExpression{Claim: "sub", Prefix: &prefix}, Groups: tenancyv1alpha1.PrefixedClaimOrExpression{Claim: "groups", Prefix: &prefix}},
		}))
	}
	check(t, env.Admin().CreateType(t.Context(), org.Path, "team", "issuer-0", "issuer-1"))
	var err error
	s.ws, err = env.Admin().CreateWorkspace(t.Context(), org.Path, "team", harness.TypeRef{Path: org.Path, Name: "team"}, shardTen)
	check(t, err)
	grant(t, s.ws, harness.AskWhoAmI(), harness.Group("system:authenticated"))
	s.controller, s.weak = newAccount(t, s.ws, "controller"), newAccount(t, s.ws, "weak")
	s.allow(t, s.ws, s.controller)
	return s
}

// allow lets the account, which is the workspace's own, review tokens there.
func (s *reviewScene) allow(t *testing.T, ws harness.Workspace, a account) {
	t.Helper()
	grant(t, ws, mayReview(), rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: a.name})
	kube := kubeOf(t, s.proxy.Token(a.token), ws)
	eventually(t, "the right to review tokens", func(ctx context.Context) error {
		_, err := review(ctx, kube, "garbage")
		return err
	})
}

func (s *reviewScene) user(issuer *issuertest.Issuer, name string) string {
	return issuer.Sign(issuertest.Claims{"sub": name, "aud": []string{"e2e"}, "groups": []string{"developers"}})
}

// TestTokenReviewsOfUsersAndAccounts: kube-apiserver's own webhook authenticator, pointed at a
// workspace, knows the users of both issuers of its type and the service accounts of every
// shard, each as the shard takes it for, and of two accounts with one name which is which.
func TestTokenReviewsOfUsersAndAccounts(t *testing.T) {
	t.Parallel()
	s := newReviewScene(t, "reviews")
	w := webhookAt(t, s.proxy, s.ws, s.controller.token)
	own := newAccount(t, s.ws, "bot")
	foreign, ofRoot := newAccount(t, workspace(t, shardOne), "bot"), newAccount(t, workspace(t, harness.RootShard), "bot")
	neighbour := newAccount(t, workspace(t, shardTen), "bot") // of the shard that has ws, too
	for name, token := range map[string]string{"oidc:ada": s.user(s.one, "ada"), "oidc:bob": s.user(s.two, "bob"), own.local(): own.token} {
		var me authenticationv1.UserInfo
		eventually(t, "an answer to "+name, func(ctx context.Context) (err error) {
			me, err = s.proxy.Token(token).WhoAmI(ctx, s.ws.Path)
			return err
		})
		got, err := ask(t.Context(), w, token)
		if err != nil || got.User == nil {
			t.Errorf("%s: %+v, %v (logs: %s)", name, got, err, env.Logs())
			continue
		}
		extra := map[string][]string{}
		for key, values := range me.Extra {
			extra[key] = values
		}
		groups := slices.Sorted(slices.Values(got.User.GetGroups()))
		slices.Sort(me.Groups)
		if diff := cmp.Diff(&user.DefaultInfo{Name: me.Username, Groups: me.Groups, Extra: extra}, &user.DefaultInfo{Name: got.User.GetName(), Groups: groups, Extra: got.User.GetExtra()}); diff != "" || me.Username != name {
			t.Errorf("%s as the shard sees it, and as the review tells (-shard +review):\n%s", name, diff)
		}
	}
	for where, a := range map[string]account{"shard-1": foreign, "root": ofRoot, "the same shard": neighbour} {
		got, err := ask(t.Context(), w, a.token)
		if err != nil || got.User == nil {
			t.Errorf("an account of %s: %+v, %v (logs: %s)", where, got, err, env.Logs())
			continue
		}
		if got.User.GetName() != a.global() || !slices.Equal(slices.Sorted(slices.Values(got.User.GetGroups())), []string{"system:authenticated", "system:cluster:" + a.home.Cluster}) ||
			got.User.GetExtra()["authentication.kcp.io/scopes"] != nil {
			t.Errorf("an account of %s is %+v", where, got.User)
		}
		// What is granted to that name is what the account may do.
		grant(t, s.ws, []rbacv1.PolicyRule{{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"secrets"}}}, harness.User(a.global()))
		eventually(t, "the shard to grant the name of the review what it grants the account", func(ctx context.Context) error {
			if err := listSecrets(ctx, kubeOf(t, s.proxy.Token(a.token), s.ws)); err != nil {
				return err
			}
			return maySecrets(ctx, t, s.ws, got.User)
		})
	}
}

// maySecrets asks the shard whether u may list Secrets.
func maySecrets(ctx context.Context, t *testing.T, ws harness.Workspace, u user.Info) error {
	extra := map[string]authorizationv1.ExtraValue{}
	for key, values := range u.GetExtra() {
		extra[key] = values
	}
	r, err := kubeOf(t, env.Admin(), ws).AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: "default", Verb: "list", Version: "v1", Resource: "secrets"},
	}}, metav1.CreateOptions{})
	if err == nil && !r.Status.Allowed {
		err = errors.New("not allowed: " + r.Status.Reason)
	}
	return err
}

// TestTokenReviewsThatSayNo: revoked, for another audience, of another workspace's users,
// garbage of a caller with a certificate, and a caller without the right.
func TestTokenReviewsThatSayNo(t *testing.T) {
	t.Parallel()
	s := newReviewScene(t, "reviews-no")
	w := webhookAt(t, s.proxy, s.ws, s.controller.token)
	foreign := newAccount(t, workspace(t, shardOne), "bot")
	yes := func(what, token string, audiences ...string) {
		t.Helper()
		eventually(t, what, func(ctx context.Context) error {
			got, err := ask(ctx, w, token, audiences...)
			if err == nil && got.User == nil {
				err = errors.New("not authenticated")
			}
			if err == nil && len(audiences) > 0 && !slices.Equal(got.Audiences, audiences) {
				err = fmt.Errorf("for %q", got.Audiences)
			}
			return err
		})
	}
	no := func(what, token string, audiences ...string) {
		t.Helper()
		if got, err := ask(t.Context(), w, token, audiences...); err != nil || got.User != nil {
			t.Errorf("%s: %+v, %v; want a plain no (logs: %s)", what, got, err, env.Logs())
		}
	}
	const api = "https://kcp.default.svc"
	ada := s.user(s.one, "ada")
	yes("a user", ada)
	yes("a user, for the API", ada, api)
	no("a user, for another audience", ada, "vault")
	no("a user, for its issuer's audience", ada, "e2e")
	vault := foreign.tokenFor(t, "vault")
	no("an account's token for another audience", vault)
	no("an account's token for another audience, at the API", vault, api)
	yes("an account's token for that audience", vault, "vault")
	no("an account's token of the API, for another audience", foreign.token, "vault")
	no("garbage", "garbage")
	no("an unsigned one", foreign.token[:len(foreign.token)-8]+"AAAAAAAA")

	yes("an account", foreign.token)
	check(t, kubeOf(t, env.Admin(), foreign.home).CoreV1().ServiceAccounts("default").Delete(t.Context(), foreign.name, metav1.DeleteOptions{}))
	eventually(t, "a deleted account to be refused", func(ctx context.Context) error {
		got, err := ask(ctx, w, foreign.token)
		if err == nil && got.User != nil {
			err = errors.New("it is still known")
		}
		return err
	})
	no("a deleted account", foreign.token)

	// Users of a type are nobody in a workspace of another.
	elsewhere := workspace(t, shardOne)
	other := newAccount(t, elsewhere, "controller")
	s.allow(t, elsewhere, other)
	if got, err := ask(t.Context(), webhookAt(t, s.proxy, elsewhere, other.token), ada); err != nil || got.User != nil {
		t.Errorf("a user in a workspace of another type: %+v, %v", got, err)
	}

	// A certificate admits its holder, and no token that its holder asks about.
	admin := kubeOf(t, s.proxy.Admin(), s.ws)
	for _, token := range []string{"garbage", "garbage.of.parts", foreign.token} {
		if got, err := review(t.Context(), admin, token); err != nil || got.Authenticated || got.Error != "" || got.User.Username != "" {
			t.Errorf("a certificate and %.20s: %+v, %v", token, got, err)
		}
	}
	_, err := review(t.Context(), kubeOf(t, s.proxy.Token(s.weak.token), s.ws), ada)
	wantStatus(t, "a caller without the right", err, http.StatusForbidden)
	_, err = review(t.Context(), kubeOf(t, s.proxy.Token("garbage"), s.ws), ada)
	wantStatus(t, "a caller whom nobody knows", err, http.StatusUnauthorized)
	_, err = review(t.Context(), kubeOf(t, s.proxy.Token(ada), s.ws), ada)
	wantStatus(t, "a user without the right", err, http.StatusForbidden)
}

// TestTokenReviewsWithoutKeys: a proxy that verifies no account's token has the shard answer
// for the workspace's own accounts, and for no others.
func TestTokenReviewsWithoutKeys(t *testing.T) {
	t.Parallel()
	s := newReviewScene(t, "reviews-keys")
	p := proxyWith(t, "reviews-keyless", "--shard-virtual-workspaces", reviewGate)
	own, neighbour := newAccount(t, s.ws, "bot"), newAccount(t, workspace(t, shardTen), "bot")
	admin := kubeOf(t, p.Admin(), s.ws)
	got, err := review(t.Context(), admin, own.token)
	if err != nil || !got.Authenticated || got.User.Username != own.local() {
		t.Errorf("the workspace's own account: %+v, %v", got, err)
	}
	// The shard that has both would say that it is the workspace's own account of that name.
	got, err = review(t.Context(), admin, neighbour.token)
	if err != nil || got.Authenticated {
		t.Errorf("another workspace's account: %+v, %v", got, err)
	}
	got, err = review(t.Context(), kubeOf(t, env.Admin(), s.ws), neighbour.token)
	check(t, err)
	if !got.Authenticated || got.User.Username != own.local() { // then docs/token-reviews.md is wrong about kcp
		t.Errorf("without the gate, the shard says of another workspace's account: %v %q", got.Authenticated, got.User.Username)
	}
}
