package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
)

const (
	shardOne = "shard-1"
	audience = "soak"
	prefix   = "oidc:"
	beatName = "beat" // the ConfigMap that changes for the watches to see
)

// soak is what is at work.
type soak struct {
	*plan
	env      *harness.Environment
	progress func(string)

	proxy            *harness.Proxy
	debug, profiler  string // its addresses without authentication
	volume           *volume
	backend          *backend
	org              harness.Workspace
	near, far, mount *place // on the root shard, on shard-1, and a mount of org

	issuer, second      *issuertest.Issuer // of the workspaces' type
	operator, operator2 *issuertest.Issuer // of --authentication-config

	ada, adaAnew, bot, alice, stan, olga *user // always there
	guest, emil, zoe, otto               *user // come and go

	load    *load
	streams *streams
	beats   int64
	kube    map[*place]kubernetes.Interface
	closers []func()
}

// newSoak sets the scene: a workspace type that trusts an issuer, workspaces of
// it on both shards, a mount, and a proxy all of whose files are in a volume.
func newSoak(ctx context.Context, env *harness.Environment, p *plan, progress func(string)) (*soak, error) {
	s := &soak{plan: p, env: env, progress: progress, kube: map[*place]kubernetes.Interface{}}
	for _, issuer := range []**issuertest.Issuer{&s.issuer, &s.second, &s.operator, &s.operator2} {
		var err error
		if *issuer, err = issuertest.New(issuertest.Options{}); err != nil {
			return s, err
		}
		s.closers = append(s.closers, (*issuer).Close)
	}
	var err error
	if s.backend, err = newBackend(ctx, env); err != nil {
		return s, err
	}
	s.closers = append(s.closers, s.backend.close)
	if s.volume, err = newVolume(s); err != nil {
		return s, err
	}
	if err := s.startProxy(ctx); err != nil {
		return s, err
	}
	s.closers = append(s.closers, func() { _ = s.proxy.Stop() })
	progress("making workspaces")
	if err := s.makeWorkspaces(ctx); err != nil {
		return s, err
	}
	if err := s.makeUsers(ctx); err != nil {
		return s, err
	}
	s.makeLoad()
	return s, s.awaitUsers(ctx)
}

func (s *soak) close() {
	for n := len(s.closers) - 1; n >= 0; n-- {
		s.closers[n]()
	}
}

// startProxy starts the one that is soaked. The environment's own is left to the
// shards.
func (s *soak) startProxy(ctx context.Context) error {
	for _, address := range []*string{&s.debug, &s.profiler} {
		port, err := harness.FreePort()
		if err != nil {
			return err
		}
		*address = fmt.Sprintf("127.0.0.1:%d", port)
	}
	file := s.volume.file
	var err error
	s.proxy, err = s.env.NewProxy("proxy-soak", harness.ProxyOptions{Args: []string{
		"-v=2", "--mapping-file=" + file("mapping.yaml"), "--root-kubeconfig=" + file("root.kubeconfig"), "--shards-kubeconfig=" + file("shards.kubeconfig"),
		"--tls-cert-file=" + file("tls.crt"), "--tls-private-key-file=" + file("tls.key"), "--client-ca-file=" + file("clients.crt"),
		"--token-auth-file=" + file("tokens.csv"), "--authentication-config=" + file("authentication.yaml"),
		"--service-account-keys-from-shards", "--debug-address=" + s.debug, "--profiler-address=" + s.profiler,
	}})
	if err != nil {
		return err
	}
	return s.proxy.Start(ctx)
}

func (s *soak) makeWorkspaces(ctx context.Context) (err error) {
	admin := s.proxy.Admin()
	if s.org, err = admin.CreateWorkspace(ctx, "root", "soak", harness.TypeRef{}, harness.RootShard); err != nil {
		return err
	}
	if err := admin.CreateAuthConfiguration(ctx, s.org.Path, "issuer", trust(s.issuer)); err != nil {
		return err
	}
	if err := admin.CreateType(ctx, s.org.Path, "team", "issuer"); err != nil {
		return err
	}
	rules := append(harness.AskWhoAmI(), rbacv1.PolicyRule{Verbs: []string{"list", "watch", "create"}, APIGroups: []string{""}, Resources: []string{"configmaps"}})
	well, wrong := &trouble{}, &trouble{}
	s.near, s.far = &place{trouble: well}, &place{trouble: wrong}
	for name, p := range map[string]struct {
		*place
		shard string
	}{"near": {s.near, harness.RootShard}, "far": {s.far, shardOne}} {
		if p.Workspace, err = admin.CreateWorkspace(ctx, s.org.Path, name, harness.TypeRef{Path: s.org.Path, Name: "team"}, p.shard); err != nil {
			return err
		}
		p.url = s.proxy.URL + "/clusters/" + p.Path
		if err := admin.Grant(ctx, p.Path, "soak", rules, harness.Group("system:authenticated")); err != nil {
			return err
		}
		if s.kube[p.place], err = admin.Kube(p.Path); err != nil {
			return err
		}
		_, err = s.kube[p.place].CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: beatName}, Data: map[string]string{"beat": "0"}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	if err := admin.Grant(ctx, s.org.Path, "soak", rules, harness.Group("system:authenticated")); err != nil {
		return err
	}
	s.mount = &place{trouble: well, url: s.proxy.URL + "/clusters/" + s.org.Path + ":mount"}
	s.mount.Path, s.mount.Shard = s.org.Path+":mount", harness.RootShard
	return s.makeMount(ctx)
}

// makeMount mounts the organisation's own workspace below it: kcp takes the URL
// from any object's status, so its LogicalCluster does.
func (s *soak) makeMount(ctx context.Context) error {
	type object = map[string]any
	if err := s.proxy.Admin().Create(ctx, s.org.Path, harness.Workspaces, &object{
		"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": object{"name": "mount"},
		"spec": object{"mount": object{"ref": object{"apiVersion": "core.kcp.io/v1alpha1", "kind": "LogicalCluster", "name": "cluster"}}},
	}); err != nil {
		return err
	}
	return harness.Eventually(ctx, time.Minute, "the mount", func(ctx context.Context) error {
		_, err := s.proxy.Admin().WhoAmI(ctx, s.mount.Path)
		return err
	})
}

// trust is a configuration for an issuer.
func trust(issuer *issuertest.Issuer) tenancyv1alpha1.JWTAuthenticator {
	p := prefix
	return tenancyv1alpha1.JWTAuthenticator{
		Issuer: tenancyv1alpha1.Issuer{URL: issuer.URL(), Audiences: []string{audience}, CertificateAuthority: issuer.CAPEM()},
		ClaimMappings: tenancyv1alpha1.ClaimMappings{
			Username: tenancyv1alpha1.PrefixedClaimOrExpression{Claim: "email", Prefix: &p},
			Groups:   tenancyv1alpha1.PrefixedClaimOrExpression{Claim: "groups", Prefix: &p},
		},
	}
}

// tokenOf signs a token that outlasts the run.
func tokenOf(issuer *issuertest.Issuer, name string) string {
	return issuer.Sign(issuertest.Claims{"aud": []string{audience}, "email": name, "exp": time.Now().Add(48 * time.Hour).Unix(), "jti": time.Now().UnixNano()})
}

// remembered signs a token anew every minute only.
func remembered(issuer *issuertest.Issuer, name string) func(*place) string {
	var mu sync.Mutex // guards what follows
	var token string
	var until time.Time
	return func(*place) string {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.After(until) {
			token, until = tokenOf(issuer, name), now.Add(time.Minute)
		}
		return token
	}
}

func always(token string) func(*place) string { return func(*place) string { return token } }

// makeUsers makes those who are always there, and those who come and go.
func (s *soak) makeUsers(ctx context.Context) error {
	dir := filepath.Join(s.env.Dir, "users")
	alice, err := s.env.ClientCA.Client(dir, "alice")
	if err != nil {
		return err
	}
	otherCA, err := harness.NewCA(dir, "other-ca")
	if err != nil {
		return err
	}
	s.volume.otherCA = otherCA.PEM
	emil, err := otherCA.Client(dir, "emil")
	if err != nil {
		return err
	}
	accounts := map[*place]string{}
	for _, p := range []*place{s.near, s.far} {
		if accounts[p], err = s.serviceAccount(ctx, p); err != nil {
			return err
		}
	}
	s.ada = &user{name: "ada", token: remembered(s.issuer, "ada@example.com"), known: `"oidc:ada@example.com"`}
	s.adaAnew = &user{name: "new tokens", token: func(*place) string { return tokenOf(s.issuer, "new@example.com") }}
	s.bot = &user{name: "bot", token: func(p *place) string { return accounts[p] }, known: `"system:serviceaccount:default:bot"`}
	s.alice = &user{name: "alice", known: `"alice"`}
	s.stan = &user{name: "stan", token: always(stansToken), known: `"stan"`}
	s.olga = &user{name: "olga", token: remembered(s.operator, "olga@example.com"), known: `"op:olga@example.com"`}
	s.guest = &user{name: "guest", token: always(guestsToken)}
	s.emil = &user{name: "emil"}
	s.zoe = &user{name: "zoe", token: remembered(s.second, "zoe@example.com")}
	s.otto = &user{name: "otto", token: remembered(s.operator2, "otto@example.com")}
	for _, u := range []*user{s.guest, s.emil, s.zoe, s.otto} {
		u.away.Store(true)
	}
	for u, pair := range map[*user]*harness.KeyPair{s.ada: nil, s.adaAnew: nil, s.bot: nil, s.alice: &alice, s.stan: nil, s.olga: nil, s.guest: nil, s.emil: &emil, s.zoe: nil, s.otto: nil} {
		if err := u.connect(s.env.ServingCA.PEM, pair); err != nil {
			return err
		}
	}
	return nil
}

// serviceAccount makes the account bot and returns a token of it.
func (s *soak) serviceAccount(ctx context.Context, p *place) (token string, err error) {
	accounts := s.kube[p].CoreV1().ServiceAccounts("default")
	err = harness.Eventually(ctx, time.Minute, "a service account in "+p.Path, func(ctx context.Context) error {
		_, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "bot"}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		seconds := int64(24 * 3600)
		request, err := accounts.CreateToken(ctx, "bot", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
		if err == nil {
			token = request.Status.Token
		}
		return err
	})
	return token, err
}

// regulars are the users who are always there.
func (s *soak) regulars() []*user { return []*user{s.ada, s.bot, s.alice, s.stan, s.olga} }

const list = "/api/v1/namespaces/default/configmaps?limit=5"

// makeLoad mixes the requests and makes the watches.
func (s *soak) makeLoad() {
	review := []byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`)
	upload := []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"upload"},"data":{"text":"` + strings.Repeat("0123456789abcdef", 20<<10) + `"}}`)
	s.load = &load{places: []*place{s.near, s.far}, rate: s.rate, kinds: map[string]*count{}}
	for _, u := range s.regulars() {
		s.load.asks = append(s.load.asks,
			ask{kind: "list", user: u, path: list, want: http.StatusOK},
			ask{kind: "who am I", user: u, method: http.MethodPost, path: "/apis/authentication.k8s.io/v1/selfsubjectreviews", body: review, want: http.StatusCreated, known: u.known})
	}
	stranger := func(token func(*place) string) *user {
		u := &user{token: token}
		_ = u.connect(s.env.ServingCA.PEM, nil) // no certificate that could be unsound
		return u
	}
	unknown := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://nobody.example","sub":"x","aud":"soak","exp":4000000000}`))
	s.load.asks = append(s.load.asks,
		ask{kind: "a new token", user: s.adaAnew, path: list, want: http.StatusOK},
		ask{kind: "a new token", user: s.adaAnew, path: list, want: http.StatusOK},
		ask{kind: "upload of 320 KiB", user: s.alice, method: http.MethodPost, path: "/api/v1/namespaces/default/configmaps?dryRun=All", body: upload, want: http.StatusCreated},
		ask{kind: "upload of 320 KiB", user: s.ada, method: http.MethodPost, path: "/api/v1/namespaces/default/configmaps?dryRun=All", body: upload, want: http.StatusCreated},
		ask{kind: "mount", user: s.alice, path: list, want: http.StatusOK, at: s.mount},
		ask{kind: "refused: garbage", user: stranger(func(*place) string { return fmt.Sprintf("garbage-%d", time.Now().UnixNano()) }), path: list, want: http.StatusUnauthorized},
		ask{kind: "refused: unknown issuer", user: stranger(func(p *place) string {
			return strings.SplitN(s.ada.token(p), ".", 2)[0] + "." + unknown + ".c2lnbmF0dXJl"
		}), path: list, want: http.StatusUnauthorized},
		ask{kind: "refused: forged", user: stranger(func(*place) string { return forged(tokenOf(s.issuer, "ada@example.com")) }), path: list, want: http.StatusUnauthorized},
		ask{kind: "upgrade", user: s.ada, do: func(ctx context.Context, p *place) (int, error) { return s.upgrade(ctx, s.ada, p) }},
		ask{kind: "short watch", user: s.bot, do: func(ctx context.Context, p *place) (int, error) { return s.shortWatch(ctx, s.bot, p) }},
	)
	s.streams = &streams{servingCA: s.env.ServingCA.PEM, load: s.load}
	for _, p := range s.load.places {
		for _, u := range s.regulars() {
			s.streams.add(u, p, s.plan.streams)
		}
		for _, u := range []*user{s.guest, s.emil, s.zoe, s.otto} {
			s.streams.add(u, p, 2)
		}
	}
}

// forged is a token with the first character of its signature changed.
func forged(token string) string {
	dot := strings.LastIndexByte(token, '.')
	first := byte('A')
	if token[dot+1] == first {
		first = 'B'
	}
	return token[:dot+1] + string(first) + token[dot+2:]
}

// upgrade opens a watch over WebSocket, reads one event and closes it.
func (s *soak) upgrade(ctx context.Context, u *user, p *place) (int, error) {
	conn, err := dialWebsocket(ctx, p.configMaps()+watching, u.header(p), u.tls(s.env.ServingCA.PEM))
	if err != nil {
		if status, ok := err.(statusError); ok { //nolint:errorlint // as dialWebsocket made it
			return status.status, err
		}
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	var e event
	return http.StatusSwitchingProtocols, conn.ReadJSON(&e)
}

// shortWatch opens a watch, reads one event and goes away.
func (s *soak) shortWatch(ctx context.Context, u *user, p *place) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.configMaps()+watching, nil) //nolint:gosec // a path of ours
	if err != nil {
		return 0, err
	}
	r.Header = u.header(p)
	answer, err := u.http2.Do(r) //nolint:gosec // at the proxy that we started
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return answer.StatusCode, fmt.Errorf("a watch is answered %s", answer.Status)
	}
	var e event
	return answer.StatusCode, json.NewDecoder(answer.Body).Decode(&e)
}

// awaitUsers waits until every kind of request is answered as it should be.
func (s *soak) awaitUsers(ctx context.Context) error {
	for _, a := range s.load.asks {
		for _, p := range s.load.places {
			if a.at != nil {
				p = a.at
			}
			if err := harness.Eventually(ctx, time.Minute, fmt.Sprintf("%s in %s", a.kind, p.Path), func(ctx context.Context) error {
				_, err := a.send(ctx, a.user.http2, p)
				return err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// isIn returns nil when the user is answered with a status in a place.
func (s *soak) isIn(ctx context.Context, u *user, p *place, want int) error {
	_, err := (&ask{user: u, path: list, want: want}).send(ctx, u.fresh, p)
	return err
}

// beat changes a ConfigMap in both workspaces and waits until all watches have
// seen it.
func (s *soak) beat(ctx context.Context) error {
	s.beats++
	for _, p := range s.load.places {
		if _, err := s.kube[p].CoreV1().ConfigMaps("default").Patch(ctx, beatName, types.MergePatchType, fmt.Appendf(nil, `{"data":{"beat":"%d"}}`, s.beats), metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return s.streams.awaitBeat(ctx, s.beats)
}
