package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
)

const (
	audience = "demo"
	user     = "alice@example.com"
	prefix   = "oidc:"
)

// scene is what the demo shows: root:demo owns the type team, whose users come
// from the demo's issuer; alice has a role in blue and none in green.
type scene struct {
	env             *harness.Environment
	blue, green     harness.Workspace
	userKubeconfig  string
	token           string // alice's
	foreignToken    string // alice's, for another audience
	tokenFile       string
	reviewFile      string // a TokenReview about it
	issuer          *issuertest.Issuer
	company         *company
	shellFile       string // what docs/quick-start.md's commands need
	kubectlCacheDir string
}

// hello is what Alice applies.
const hello = `apiVersion: v1
kind: ConfigMap
metadata: {name: hello}
data: {from: alice}
`

// review asks whose a token is.
const review = `apiVersion: authentication.k8s.io/v1
kind: TokenReview
spec: {token: %s}
`

func newScene(ctx context.Context, env *harness.Environment, issuer *issuertest.Issuer, company *company, progress func(string)) (*scene, error) {
	admin := env.Admin()
	progress("creating workspace root:demo, the workspace type team and its issuer " + issuer.URL())
	org, err := admin.CreateWorkspace(ctx, "root", "demo", harness.TypeRef{}, harness.RootShard)
	if err != nil {
		return nil, err
	}
	if err := admin.CreateAuthConfiguration(ctx, org.Path, "demo-issuer", trust(issuer)); err != nil {
		return nil, err
	}
	if err := company.configure(ctx, admin, org.Path); err != nil {
		return nil, err
	}
	if err := admin.CreateType(ctx, org.Path, "team", "demo-issuer", "company"); err != nil {
		return nil, err
	}
	s := &scene{
		env:             env,
		issuer:          issuer,
		company:         company,
		shellFile:       filepath.Join(env.Dir, "demo.env"),
		userKubeconfig:  filepath.Join(env.Dir, "alice.kubeconfig"),
		kubectlCacheDir: filepath.Join(env.Dir, "kubectl-cache"),
	}
	team := harness.TypeRef{Path: org.Path, Name: "team"}
	progress("creating workspace root:demo:blue on shard-1 and root:demo:green on root, both of type team")
	if s.blue, err = admin.CreateWorkspace(ctx, org.Path, "blue", team, "shard-1"); err != nil {
		return nil, err
	}
	if s.green, err = admin.CreateWorkspace(ctx, org.Path, "green", team, harness.RootShard); err != nil {
		return nil, err
	}
	if err := admin.Grant(ctx, s.blue.Path, "alice", harness.Everything(), harness.User(prefix+user)); err != nil {
		return nil, err
	}
	if err := admin.Grant(ctx, s.green.Path, "ask", harness.AskWhoAmI(), harness.User(prefix+user)); err != nil {
		return nil, err
	}
	s.token = issuer.Sign(issuertest.Claims{
		"aud": []string{audience}, "email": user, "groups": []string{"developers"},
		"exp": time.Now().Add(12 * time.Hour).Unix(),
	})
	if err := s.writeUserKubeconfig(s.token); err != nil {
		return nil, err
	}
	s.foreignToken = issuer.Sign(issuertest.Claims{"aud": []string{"something-else"}, "email": user})
	s.tokenFile, s.reviewFile = filepath.Join(env.Dir, "alice.jwt"), filepath.Join(env.Dir, "review.yaml")
	if err := s.writeFiles(); err != nil {
		return nil, err
	}
	progress("waiting until the proxy knows the issuer")
	if err := s.awaitUser(ctx, env.Token(s.token)); err != nil {
		return nil, err
	}
	return s, company.awaitDiscovery(ctx, env, s.blue.Path)
}

// trust is the authentication configuration for an issuer.
func trust(issuer *issuertest.Issuer) tenancyv1alpha1.JWTAuthenticator {
	claim := func(name string) tenancyv1alpha1.PrefixedClaimOrExpression {
		p := prefix
		return tenancyv1alpha1.PrefixedClaimOrExpression{Claim: name, Prefix: &p}
	}
	return tenancyv1alpha1.JWTAuthenticator{
		Issuer: tenancyv1alpha1.Issuer{
			URL: issuer.URL(), Audiences: []string{audience}, CertificateAuthority: issuer.CAPEM(),
		},
		ClaimMappings: tenancyv1alpha1.ClaimMappings{Username: claim("email"), Groups: claim("groups")},
	}
}

// awaitUser waits for the proxy to have seen what was just made.
func (s *scene) awaitUser(ctx context.Context, alice *harness.Client) error {
	return harness.Eventually(ctx, 30*time.Second, "alice to be admitted to "+s.blue.Path+" and "+s.green.Path, func(ctx context.Context) error {
		_, blue := alice.WhoAmI(ctx, s.blue.Path)
		_, green := alice.WhoAmI(ctx, s.green.Path)
		return errors.Join(blue, green)
	})
}

// writeUserKubeconfig has a context for each workspace, blue being the current.
func (s *scene) writeUserKubeconfig(token string) error {
	config := clientcmdapi.NewConfig()
	config.AuthInfos["alice"] = &clientcmdapi.AuthInfo{Token: token}
	for name, path := range map[string]string{"blue": s.blue.Path, "green": s.green.Path, "root": "root"} {
		config.Clusters[name] = &clientcmdapi.Cluster{
			Server: s.env.Proxy.URL + "/clusters/" + path, CertificateAuthorityData: s.env.ServingCA.PEM,
		}
		config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: "alice"}
	}
	config.CurrentContext = "blue"
	if err := clientcmd.WriteToFile(*config, s.userKubeconfig); err != nil {
		return fmt.Errorf("write alice's kubeconfig: %w", err)
	}
	return nil
}

// writeFiles writes what the commands need, among it demo.env: the variables of
// docs/quick-start.md, for a shell to read.
func (s *scene) writeFiles() error {
	ca := filepath.Join(s.env.Dir, "issuer-ca.crt")
	for file, content := range map[string]string{
		ca: s.issuer.CAPEM(), s.tokenFile: s.token, s.shellFile: s.variables(ca),
		filepath.Join(s.env.Dir, "other-audience.jwt"): s.foreignToken, filepath.Join(s.env.Dir, "hello.yaml"): hello,
		s.reviewFile: fmt.Sprintf(review, s.token),
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			return fmt.Errorf("write what the commands need: %w", err)
		}
	}
	return nil
}

func (s *scene) variables(ca string) string {
	var b strings.Builder
	for _, v := range [][2]string{
		{"DEMO_DIR", s.env.Dir},
		{"KUBECONFIG", s.userKubeconfig},
		{"ADMIN", s.env.AdminKubeconfig()},
		{"PROXY", s.env.Proxy.URL},
		{"ISSUER_URL", s.issuer.URL()},
		{"ISSUER_CA", ca},
		{"TOKEN_FILE", s.tokenFile},
		{"REVIEW", s.reviewFile},
		{"KUBECACHEDIR", s.kubectlCacheDir},
		{"SERVING_CA", s.env.ServingCA.File},
		{"KCP_LOGIN_HOME", filepath.Join(s.env.Dir, "logins")},
		{"ELSEWHERE", s.company.home},
		{"BROWSER", s.company.filler},
		{"FORMFILLER_CA", s.company.dex.CAFile},
		{"FORMFILLER_USER", harness.DexUser},
		{"FORMFILLER_PASSWORD", harness.DexPassword},
		{"PATH", filepath.Dir(s.env.Binaries().Kubectl) + ":" + filepath.Dir(s.env.Binaries().FrontProxy) + ":$PATH"},
	} {
		fmt.Fprintf(&b, "export %s=\"%s\"\n", v[0], v[1])
	}
	return b.String()
}
