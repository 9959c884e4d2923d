package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
)

// mountsProxy is the certificate name that may assert identities in headers.
const mountsProxy = "kcp-mounts-proxy"

// way is one of the ways to authenticate that the operator's flags turn on, a
// credential that only it knows, and whom the shard must take its bearer for.
type way struct {
	name  string
	args  []string
	token string
	// client has the credential, when that is not token.
	client func(*harness.Proxy) *harness.Client
	want   authenticationv1.UserInfo
}

// ways are all of them, with what they need: an issuer each, a webhook, and
// service accounts on both shards.
type ways struct {
	t        *testing.T
	at       harness.Workspace // where everybody may ask who they are
	accounts [2]serviceAccount // of the root shard and of shardOne
	webhook  *reviewer
	flags    *issuertest.Issuer // of --oidc-*
	first    *issuertest.Issuer // of --authentication-config
	second   *issuertest.Issuer // likewise
	config   string             // that file
	users    harness.KeyPair    // asserts no headers
	mounts   harness.KeyPair    // may
	others   harness.KeyPair    // is signed by the same CA and may not
}

func newWays(t *testing.T) *ways {
	t.Helper()
	w := &ways{t: t, webhook: newReviewer(t), flags: newIssuer(t), first: newIssuer(t), second: newIssuer(t)}
	o := newOrg(t, harness.RootShard)
	w.at = o.workspace("asked", harness.TypeRef{}, shardOne)
	w.accounts = [2]serviceAccount{
		newServiceAccount(t, o.workspace("home", harness.TypeRef{}, harness.RootShard)),
		newServiceAccount(t, o.workspace("far", harness.TypeRef{}, shardOne)),
	}
	w.config = filepath.Join(t.TempDir(), "authentication.yaml")
	w.configure(structured(w.first, w.second))
	var err error
	w.users, err = env.ClientCA.Client(t.TempDir(), "alice", "devs", "system:masters")
	check(t, err)
	w.mounts, err = env.RequestHeaderCA.Client(t.TempDir(), mountsProxy)
	check(t, err)
	w.others, err = env.RequestHeaderCA.Client(t.TempDir(), "another-proxy")
	check(t, err)
	return w
}

// configure replaces the file of --authentication-config.
func (w *ways) configure(text string) {
	w.t.Helper()
	next := w.config + ".next"
	check(w.t, os.WriteFile(next, []byte(text), 0o600))
	check(w.t, os.Rename(next, w.config))
}

// structured is such a file: users of the nth issuer are called s<n>:<sub>.
func structured(issuers ...*issuertest.Issuer) string {
	text := "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\njwt:\n"
	for n, s := range issuers {
		text += fmt.Sprintf(`- issuer:
    url: %s
    audiences: [kcp]
    certificateAuthority: %q
  claimMappings:
    username: {claim: sub, prefix: 's%d:'}
    groups: {claim: groups, prefix: ''}
    extra: [{key: example.org/level, valueExpression: 'has(claims.level) ? claims.level : ""'}]
  claimValidationRules: [{claim: hd, requiredValue: example.org}]
`, s.URL(), s.CAPEM(), n)
	}
	return text
}

// file writes a file of the test.
func file(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	check(t, os.WriteFile(path, text, 0o600))
	return path
}

// user is what a shard says of a global user: no scope, and the groups sorted.
func user(name string, groups ...string) authenticationv1.UserInfo {
	groups = append(groups, "system:authenticated")
	slices.Sort(groups)
	return authenticationv1.UserInfo{Username: name, Groups: groups}
}

// asserted are identity headers of somebody with a scope.
func (w *ways) asserted() http.Header {
	return http.Header{
		"X-Remote-User": {"carol"}, "X-Remote-Group": {"abc", "system:masters"},
		"X-Remote-Extra-Authentication.kcp.io%2fscopes": {"cluster:" + w.at.Cluster},
		"X-Remote-Extra-Example.org%2flevel":            {"7"},
	}
}

// all returns the ways in the order in which they are asked.
func (w *ways) all() []way {
	w.t.Helper()
	t := w.t
	carol := user("carol", "abc")
	carol.Extra = map[string]authenticationv1.ExtraValue{"authentication.kcp.io/scopes": {"cluster:" + w.at.Cluster}, "example.org/level": {"7"}}
	gina := user("s0:gina", "abc")
	gina.Extra = map[string]authenticationv1.ExtraValue{"example.org/level": {"3"}}
	erin := user("erin", "support")
	erin.Extra = map[string]authenticationv1.ExtraValue{"example.org/level": {"5"}}
	root, far := w.accounts[0], w.accounts[1]
	return []way{
		{
			name: "requestheader", want: carol,
			client: func(p *harness.Proxy) *harness.Client { return p.Certificate(w.mounts, w.asserted()) },
			args:   requestHeaderArgs(),
		},
		{
			name: "client certificate", want: user("alice", "devs"),
			client: func(p *harness.Proxy) *harness.Client { return p.Certificate(w.users, nil) },
		},
		{
			name: "token file", token: "static-token-of-frank", want: user("frank", "abc"),
			args: []string{"--token-auth-file=" + file(t, "tokens.csv", []byte("static-token-of-frank,frank,frank-uid,\"abc,system:masters\"\n"))},
		},
		{
			name: "bound service account, public key", token: root.bound(t, nil), want: root.identity(),
			args: []string{"--service-account-key-file=" + env.Shard(harness.RootShard).ServiceAccountKey.CertFile},
		},
		{
			name: "bound service account, private key", token: far.bound(t, nil), want: far.identity(),
			args: []string{"--service-account-key-file=" + env.Shard(shardOne).ServiceAccountKey.KeyFile},
		},
		{
			name: "legacy service account, certificate", token: far.legacy(t), want: far.identity(),
			args: []string{"--service-account-key-file=" + certificateOf(t, env.Shard(shardOne).ServiceAccountKey)},
		},
		{
			name: "OIDC by flags", want: user("oidc:dave", "g:abc"),
			token: w.flags.Sign(issuertest.Claims{"sub": "dave", "aud": "kcp", "groups": []string{"abc"}, "hd": "example.org"}),
			args: []string{
				"--oidc-issuer-url=" + w.flags.URL(), "--oidc-client-id=kcp", "--oidc-groups-claim=groups", "--oidc-username-prefix=oidc:", "--oidc-groups-prefix=g:",
				"--oidc-required-claim=hd=example.org", "--oidc-ca-file=" + file(t, "oidc-ca.crt", []byte(w.flags.CAPEM())),
			},
		},
		{
			name: "authentication config", want: gina,
			token: w.first.Sign(issuertest.Claims{"sub": "gina", "aud": "kcp", "groups": []string{"abc", "system:masters"}, "level": "3", "hd": "example.org"}),
			args:  []string{"--authentication-config=" + w.config},
		},
		{
			name: "webhook", token: "token-of-erin", want: erin,
			args: []string{"--authentication-token-webhook-config-file=" + w.webhook.kubeconfig(t)},
		},
	}
}

// requestHeaderArgs are the operator's.
func requestHeaderArgs() []string {
	return []string{
		"--requestheader-client-ca-file=" + env.RequestHeaderCA.File, "--requestheader-allowed-names=" + mountsProxy,
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
	}
}

// who is the way's client.
func (w *way) who(p *harness.Proxy) *harness.Client {
	if w.client != nil {
		return w.client(p)
	}
	return p.Token(w.token)
}

// together are the arguments of all ways but OIDC by flags, which yields to the
// configuration file, and those ways.
func together(all []way) (args []string, rest []way) {
	for _, w := range all {
		if w.name != "OIDC by flags" {
			args, rest = append(args, w.args...), append(rest, w)
		}
	}
	return args, rest
}

// startProxy starts one more proxy, until the end of the test.
func startProxy(t *testing.T, args ...string) *harness.Proxy {
	t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "-", " ", "-", ",", "").Replace(t.Name()))
	p, err := env.NewProxy("proxy-"+name, harness.ProxyOptions{Args: args})
	check(t, err)
	check(t, p.Start(t.Context()))
	t.Cleanup(func() { check(t, p.Stop()) })
	return p
}

// wantAccepted waits until a way's credential is accepted, which for issuers is
// some moments after the start, and compares whom the shard names.
func wantAccepted(t *testing.T, p *harness.Proxy, at harness.Workspace, w way) {
	t.Helper()
	eventuallyIn(t, w.who(p), at.Path)
	got, err := w.who(p).WhoAmI(t.Context(), at.Path)
	check(t, err)
	compareGlobal(t, w.name, got, w.want)
}

// compareGlobal compares but for the id of a credential, which is made up.
func compareGlobal(t *testing.T, what string, got, want authenticationv1.UserInfo) {
	t.Helper()
	got.Extra = maps.Clone(got.Extra)
	delete(got.Extra, "authentication.kubernetes.io/credential-id")
	if len(got.Extra) == 0 {
		got.Extra = nil
	}
	compare(t, what, got, want)
}

// refusal is how a request is answered that is not let in.
func refusal(t *testing.T, p *harness.Proxy, cluster, token string) (int, http.Header, metav1.Status) {
	t.Helper()
	p.Token(token) // a secret from here on
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+reviewPath(cluster), strings.NewReader(review))
	check(t, err)
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer := send(t, "h2", request)
	var status metav1.Status
	if answer.status >= http.StatusBadRequest {
		if err := json.Unmarshal(answer.body, &status); err != nil || status.Kind != "Status" || status.APIVersion != "v1" ||
			int(status.Code) != answer.status || !strings.HasPrefix(answer.header.Get("Content-Type"), "application/json") {
			t.Errorf("%s is no Status in JSON (%s)", answer, answer.header.Get("Content-Type"))
		}
	}
	return answer.status, answer.header, status
}

// wantRefused wants 401 with a Status.
func wantRefused(t *testing.T, p *harness.Proxy, at harness.Workspace, what, token string) {
	t.Helper()
	code, _, status := refusal(t, p, at.Path, token)
	if code != http.StatusUnauthorized || status.Reason != metav1.StatusReasonUnauthorized {
		t.Errorf("%s: %d %s, want 401 Unauthorized", what, code, status.Reason)
	}
}

// TestGlobalWayAlone: with one way configured the shard believes its bearer to
// be who that way says, and no other's credential is good for anything.
func TestGlobalWayAlone(t *testing.T) {
	t.Parallel()
	w := newWays(t)
	all := w.all()
	for _, alone := range all {
		t.Run(alone.name, func(t *testing.T) {
			p := startProxy(t, alone.args...)
			wantAccepted(t, p, w.at, alone)
			for _, other := range all {
				switch {
				case other.name == alone.name, other.name == "client certificate": // every proxy here takes those: the harness' administrator has one
					continue
				case slices.Equal(keyOf(other), keyOf(alone)) && keyOf(other) != nil:
					continue // both shapes of one key
				}
				want := http.StatusUnauthorized
				if alone.token == "" && slices.Equal(keyOf(other), []string{w.at.Shard}) {
					want = http.StatusCreated // no way takes tokens here: they pass to the shard, and it knows its own
				}
				if _, err := other.who(p).WhoAmI(t.Context(), w.at.Path); status(err) != want {
					t.Errorf("%s: %v, want %d", other.name, err, want)
				}
			}
		})
	}
}

// keyOf names the shard whose key a way is about.
func keyOf(w way) []string {
	switch {
	case strings.HasPrefix(w.name, "bound service account, public"):
		return []string{harness.RootShard}
	case strings.Contains(w.name, "service account"):
		return []string{shardOne}
	}
	return nil
}

// TestGlobalWaysTogether: each credential is known to its own way; of two that a
// request has the first counts; what a way refuses is refused.
func TestGlobalWaysTogether(t *testing.T) {
	t.Parallel()
	w := newWays(t)
	args, all := together(w.all())
	p := startProxy(t, args...)
	for _, way := range all {
		wantAccepted(t, p, w.at, way)
	}
	byName := map[string]way{}
	for _, way := range all {
		byName[way.name] = way
	}
	t.Run("order", func(t *testing.T) {
		for what, tt := range map[string]struct {
			keys   harness.KeyPair
			header http.Header
			token  string
			want   string // a way; empty: 401
		}{
			"headers before a token":         {w.mounts, w.asserted(), "static-token-of-frank", "requestheader"},
			"certificate before a token":     {w.users, nil, "static-token-of-frank", "client certificate"},
			"certificate beside a bad token": {w.users, nil, "garbage", "client certificate"},
			"a user's certificate asserts":   {w.users, w.asserted(), "", "client certificate"},
			"another proxy's asserts":        {w.others, w.asserted(), "", ""},
			"headers and no certificate":     {harness.KeyPair{}, w.asserted(), "", ""},
			"the proxy's own, no headers":    {w.mounts, nil, "", ""},
			"headers nobody may assert":      {w.mounts, http.Header{"X-Remote-User": {" carol"}, "X-Remote-Extra-A%0a": {"x"}}, "", ""},
			"another proxy's beside a token": {w.others, w.asserted(), "static-token-of-frank", "token file"},
		} {
			header := tt.header.Clone()
			if tt.token != "" {
				if header == nil {
					header = http.Header{}
				}
				header.Set("Authorization", "Bearer "+tt.token)
			}
			got, err := p.Certificate(tt.keys, header).WhoAmI(t.Context(), w.at.Path)
			if tt.want == "" {
				if status(err) != http.StatusUnauthorized {
					t.Errorf("%s: %+v, %v, want 401", what, got, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			compareGlobal(t, what, got, byName[tt.want].want)
		}
	})
	t.Run("refused", func(t *testing.T) { w.refused(t, p) })
	t.Run("webhook down", func(t *testing.T) {
		w.webhook.down.Store(true)
		defer w.webhook.down.Store(false)
		for _, way := range all { // the webhook's own, too: its answer is kept
			wantAccepted(t, p, w.at, way)
		}
		code, header, status := refusal(t, p, w.at.Path, "never-heard-of-before")
		if code != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || status.Reason != metav1.StatusReasonServiceUnavailable {
			t.Errorf("a token that only the webhook could know: %d %s, Retry-After %q, want 503 with one", code, status.Reason, header.Get("Retry-After"))
		}
		wantRefused(t, p, w.at, "no credential", "")
	})
	eventually(t, "a refusal once the webhook is back", func(ctx context.Context) error {
		_, err := p.Token("never-heard-of-before").WhoAmI(ctx, w.at.Path)
		if got := status(err); got != http.StatusUnauthorized {
			return unexpected{got: got, want: http.StatusUnauthorized, err: err}
		}
		return nil
	})
	t.Run("configuration followed", func(t *testing.T) { w.followed(t, p) })
	t.Run("WebSocket subprotocols", func(t *testing.T) { w.subprotocols(t, p, all) })
	t.Run("in-cluster paths", func(t *testing.T) { w.inCluster(t, p) })
	t.Run("revoked", func(t *testing.T) { w.revoked(t, p) })
}

// refused are variants of what is accepted.
func (w *ways) refused(t *testing.T, p *harness.Proxy) {
	good := func() issuertest.Claims {
		return issuertest.Claims{"sub": "gina", "aud": "kcp", "hd": "example.org"}
	}
	with := func(key string, value any) issuertest.Claims {
		c := good()
		c[key] = value
		return c
	}
	stranger := newIssuer(t)
	for what, token := range map[string]string{
		"no credential":                     "",
		"garbage":                           "garbage-of-a-stranger",
		"another audience":                  w.first.Sign(with("aud", "other")),
		"an expired token":                  w.first.Sign(with("exp", 1)),
		"a required claim is another":       w.first.Sign(with("hd", "example.com")),
		"an issuer nobody trusts":           stranger.Sign(good()),
		"another issuer's name":             stranger.Sign(with("iss", w.first.URL())),
		"one issuer's token under another":  w.second.Sign(with("iss", w.first.URL())),
		"a token the webhook does not know": "token-of-a-stranger-x",
		"OIDC by flags yields to the file":  w.flags.Sign(good()),
	} {
		wantRefused(t, p, w.at, what, token)
	}
}

// followed edits --authentication-config while the proxy runs.
func (w *ways) followed(t *testing.T, p *harness.Proxy) {
	third := newIssuer(t)
	as := func(issuer *issuertest.Issuer) *harness.Client {
		return p.Token(issuer.Sign(issuertest.Claims{"sub": "kim", "aud": "kcp", "hd": "example.org"}))
	}
	eventuallyIn(t, as(w.second), w.at.Path)
	wantStatus(t, as(third), w.at.Path, http.StatusUnauthorized)
	w.configure(structured(w.first, third))
	eventuallyIn(t, as(third), w.at.Path)
	eventuallyStatus(t, as(w.second), w.at.Path, http.StatusUnauthorized)
	wantStatus(t, as(w.first), w.at.Path, http.StatusCreated)

	for _, broken := range []string{"jwt: [", strings.Replace(structured(w.second), "sub", "", 1), ""} {
		w.configure(broken)
		eventually(t, "the bad file to be noticed", func(ctx context.Context) error {
			return wantSeries(ctx, p, `front_proxy_config_last_reload_successful{source="authentication-config"} 0`)
		})
		for issuer, want := range map[*issuertest.Issuer]int{w.first: http.StatusCreated, third: http.StatusCreated, w.second: http.StatusUnauthorized} {
			wantStatus(t, as(issuer), w.at.Path, want)
		}
	}
	w.configure(structured(w.first, w.second))
	eventuallyIn(t, as(w.second), w.at.Path)
	eventually(t, "the good file to be noticed", func(ctx context.Context) error {
		return wantSeries(ctx, p, `front_proxy_config_last_reload_successful{source="authentication-config"} 1`)
	})
}

// wantSeries looks for lines of /metrics that begin so.
func wantSeries(ctx context.Context, p *harness.Proxy, lines ...string) error {
	page, err := p.Admin().Raw(ctx, "/metrics")
	if err != nil {
		return err
	}
	for _, line := range lines {
		if !strings.Contains(string(page), "\n"+line) {
			return fmt.Errorf("/metrics has no line that begins %q", line)
		}
	}
	return nil
}

// subprotocols: a token in a WebSocket's subprotocol is as good as in a header,
// for a watch; the shard's audit log says whom it took the watcher for.
func (w *ways) subprotocols(t *testing.T, p *harness.Proxy, all []way) {
	for _, way := range all {
		if way.token == "" {
			continue
		}
		conn, nonce, code := upgradeAt(t, p, w.at.Path, nil, bearerProtocol(way.token), "base64.binary.k8s.io")
		if code != http.StatusSwitchingProtocols {
			t.Errorf("%s: %d, want 101", way.name, code)
			continue
		}
		compareGlobal(t, way.name, auditedUser(t, shardOne, nonce), way.want)
		name := strings.ToLower("seen-" + nonce)
		kube, err := env.Admin().Kube(w.at.Path)
		check(t, err)
		createConfigMap(t, kube, name)
		awaitFrame(t, conn, name)
	}
	for what, protocols := range map[string][]string{
		"a bad token": {bearerProtocol("garbage-of-a-stranger"), "base64.binary.k8s.io"},
		"no token":    {"base64.binary.k8s.io"},
		"two tokens":  {bearerProtocol("static-token-of-frank"), bearerProtocol("token-of-erin"), "base64.binary.k8s.io"},
	} {
		if _, _, code := upgradeAt(t, p, w.at.Path, nil, protocols...); code != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", what, code)
		}
	}
}

// inCluster: a service account's request without a workspace in its path, as
// client libraries in pods send it, goes to the account's own.
func (w *ways) inCluster(t *testing.T, p *harness.Proxy) {
	ask := func(token string) answer {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+strings.TrimPrefix(reviewPath(""), "/clusters/"), strings.NewReader(review))
		check(t, err)
		request.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + token}}
		return send(t, "h2", request)
	}
	for _, account := range w.accounts {
		for kind, token := range map[string]string{"bound": account.bound(t, nil), "legacy": account.legacy(t)} {
			p.Token(token)
			compareGlobal(t, kind+" of "+account.home.Shard, ask(token).user(t), account.identity())
		}
		// The claim only routes: it proves nothing.
		forged := account.doctor(t, account.bound(t, nil), doctoring{key: newRSAKey(t)})
		p.Token(forged)
		if got := ask(forged); got.status != http.StatusUnauthorized {
			t.Errorf("a forged token of %s: %s, want 401", account.home.Shard, got)
		}
	}
	if got := ask("static-token-of-frank"); got.status != http.StatusNotFound && got.status != http.StatusForbidden {
		t.Errorf("a token of another kind: %s, want no mapping for it", got)
	}
}

// revoked: what a token rests on is gone, and so is the token. It runs last.
func (w *ways) revoked(t *testing.T, p *harness.Proxy) {
	account := w.accounts[1]
	kube, err := env.Admin().Kube(account.home.Path)
	check(t, err)
	secret := account.secret(t, "rests-on")
	boundToSecret := account.bound(t, &authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Secret", APIVersion: "v1", Name: secret.Name, UID: secret.UID},
	})
	legacy, plain := string(secret.Data["token"]), account.bound(t, nil)
	for _, token := range []string{boundToSecret, legacy, plain} {
		eventuallyIn(t, p.Token(token), w.at.Path)
	}
	check(t, kube.CoreV1().Secrets("default").Delete(t.Context(), secret.Name, metav1.DeleteOptions{}))
	eventuallyStatus(t, p.Token(boundToSecret), w.at.Path, http.StatusUnauthorized)
	eventuallyStatus(t, p.Token(legacy), w.at.Path, http.StatusUnauthorized)
	wantStatus(t, p.Token(plain), w.at.Path, http.StatusCreated)
	check(t, kube.CoreV1().ServiceAccounts("default").Delete(t.Context(), account.name, metav1.DeleteOptions{}))
	eventuallyStatus(t, p.Token(plain), w.at.Path, http.StatusUnauthorized)
	wantRefused(t, p, w.at, "a deleted account", plain)
}

// TestGroupsPassedOn: what the shard sees, and what its RBAC then grants.
func TestGroupsPassedOn(t *testing.T) {
	t.Parallel()
	w := newWays(t)
	args, all := together(w.all())
	p := startProxy(t, append(args, "--authentication-pass-on-groups=abc,sup*,system:authenticated,system:serviceaccounts*", "--authentication-drop-groups=system:masters,system:serviceaccounts:*,support")...)
	for _, way := range all {
		way.want.Groups = slices.DeleteFunc(slices.Clone(way.want.Groups), func(g string) bool {
			return g == "devs" || g == "support" || strings.HasPrefix(g, "system:serviceaccounts:")
		})
		wantAccepted(t, p, w.at, way)
	}
	for group, want := range map[string]int{"abc": http.StatusOK, "devs": http.StatusForbidden, "system:serviceaccounts:default": http.StatusForbidden} {
		o := org{Workspace: w.at, t: t}
		check(t, env.Admin().Grant(t.Context(), o.Path, "e2e-"+strings.ReplaceAll(group, ":", "-"), []rbacv1.PolicyRule{
			{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"of-" + strings.ReplaceAll(group, ":", "-")}},
		}, harness.Group(group)))
		name := map[string]string{"abc": "token file", "devs": "client certificate", "system:serviceaccounts:default": "bound service account, public key"}[group]
		for _, way := range all {
			if way.name != name {
				continue
			}
			kube, err := way.who(p).Kube(o.Path)
			check(t, err)
			path := "of-" + strings.ReplaceAll(group, ":", "-")
			if want == http.StatusOK {
				eventually(t, "the group's right", func(ctx context.Context) error {
					if _, err := kube.CoreV1().Secrets("default").Get(ctx, path, metav1.GetOptions{}); status(err) != http.StatusNotFound {
						return fmt.Errorf("the member of a group that is passed on: %w, want not found", err)
					}
					return nil
				})
				continue
			}
			if _, err := kube.CoreV1().Secrets("default").Get(t.Context(), path, metav1.GetOptions{}); status(err) != want {
				t.Errorf("the member of %s, which is not passed on: %v, want 403", group, err)
			}
		}
	}
}
