package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/standin"
)

// way is one global way to authenticate: its flags, a credential that only it
// knows, and whom that makes.
type way struct {
	name   string
	args   []string
	cert   string // of the installation's users
	header http.Header
	token  string
	user   string
	groups []string // as the authenticator says them, system:masters besides
	extra  map[string][]string
}

// file writes a file of the test and returns its path.
func file(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ways are all of them, in the order in which they are asked.
func (i *installation) ways() []way {
	i.t.Helper()
	t, k := i.t, i.kcp
	i.issuer, i.webhook = newRSAIssuer(t), newReviewer(t, k)
	second := newIssuer(t)
	masters := []string{"abc", "system:masters"}
	k.Root.PutServiceAccount(rootTeam, "default", "bot", "bot-uid")
	i.shard.PutServiceAccount(farTeam, "default", "bot", "bot-uid")
	legacy := legacyToken(t, i.accounts[1], farTeam, "bot-token")
	i.shard.PutTokenSecret(farTeam, "default", "bot-token", legacy)
	i.users["carol"] = i.users["mounts"]
	bot := account("", "", rootTeam)
	return []way{
		{
			name: "requestheader", cert: "mounts", header: http.Header{"X-Remote-User": {"carol"}, "X-Remote-Group": {"abc", "system:masters"}},
			args: []string{
				"--requestheader-client-ca-file=" + k.RequestHeaderCA.File, "--requestheader-allowed-names=kcp-mounts-proxy",
				"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
			},
			user: "carol", groups: []string{"abc"},
		},
		{name: "client certificate", cert: "alice", args: []string{"--client-ca-file=" + k.ClientCA.File}, user: "alice", groups: []string{"devs", "system:kcp:admin"}},
		{
			name: "token file", token: "static-token", user: "frank", groups: []string{"abc"},
			args: []string{"--token-auth-file=" + file(t, "tokens.csv", []byte("static-token,frank,,\"abc,system:masters\"\n"))},
		},
		{
			name: "bound service account", token: boundToken(t, i.accounts[0], rootTeam), user: bot.User, extra: bot.Extra,
			groups: []string{"system:serviceaccounts", "system:serviceaccounts:default"},
			args:   []string{"--service-account-key-file=" + i.accounts[0].CertFile},
		},
		{
			name: "legacy service account", token: legacy, user: bot.User, extra: account("", "", farTeam).Extra,
			groups: []string{"system:serviceaccounts", "system:serviceaccounts:default"},
			args:   []string{"--service-account-key-file=" + i.accounts[1].KeyFile},
		},
		{
			name: "OIDC", token: i.issuer.Sign(issuertest.Claims{"sub": "dave", "aud": "kcp", "groups": masters}), user: i.issuer.URL() + "#dave", groups: []string{"abc"},
			args: []string{
				"--oidc-issuer-url=" + i.issuer.URL(), "--oidc-client-id=kcp", "--oidc-groups-claim=groups",
				"--oidc-ca-file=" + file(t, "oidc-ca.crt", []byte(i.issuer.CAPEM())),
			},
		},
		{
			name: "authentication config", token: second.Sign(issuertest.Claims{"sub": "gina", "aud": "kcp"}), user: "s0:gina",
			args: []string{"--authentication-config=" + file(t, "authn.yaml", []byte(structured(second)))},
		},
		{
			name: "webhook", token: "erin-token", user: "erin", groups: []string{"support"},
			args: []string{"--authentication-token-webhook-config-file=" + file(t, "webhook.kubeconfig", i.webhook.kubeconfig())},
		},
	}
}

// start runs the program with args instead of the client CA.
func (i *installation) start(args ...string) *runningProxy {
	i.t.Helper()
	base, url := arguments(i.t, i.kcp)
	base = slices.DeleteFunc(base, func(a string) bool { return strings.HasPrefix(a, "--client-ca-file=") })
	return startProxy(i.t, i.kcp, url, append(base, args...))
}

// call uses a way's credential for the workspace on shard-1.
func (w *way) call(i *installation, p *runningProxy, want reply) call {
	return call{name: w.name, client: i.client(p, w.cert), header: w.header, token: w.token, path: "/clusters/root:far/api", want: want}
}

// accepted is what comes of a way's credential.
func (w *way) accepted() reply {
	r := as("shard-1", "/clusters/"+farTeam+"/api", w.user, authenticated(slices.Clone(w.groups)...)...)
	r.Extra = w.extra
	return r
}

// TestGlobalWayAlone: with one way configured, its credential is known, and
// every other refused; where only certificates are, tokens and requests without
// a credential are left to the shard.
func TestGlobalWayAlone(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	all := i.ways()
	for _, alone := range all {
		t.Run(alone.name, func(t *testing.T) {
			i.t = t
			p := i.start(alone.args...)
			p.awaitWay(i, &alone)
			passed := reply{Code: 200, Shard: "shard-1", Path: "/clusters/" + farTeam + "/api"}
			for _, w := range all {
				want := unauthorized
				switch {
				case w.name == alone.name:
					want = w.accepted()
				case alone.token == "" && w.token != "":
					want = passed
					want.Token = true
				}
				p.check([]call{w.call(i, p, want)})
			}
			none := unauthorized
			if alone.token == "" {
				none = passed
			}
			p.check([]call{{name: "no credential", client: p.client(), path: "/clusters/root:far/api", want: none}})
		})
	}
	i.t = t
}

// awaitWay waits until a way's credential is accepted: issuers are read after
// the start.
func (p *runningProxy) awaitWay(i *installation, w *way) {
	if w.token != "" {
		p.await(i.client(p, w.cert), "/clusters/root:far/api", w.token, http.StatusOK)
	}
}

// together are the arguments of several ways. OIDC by flags yields to the
// structured configuration and is left out.
func together(all []way) (args []string, ways []way) {
	for _, w := range all {
		if w.name != "OIDC" {
			args, ways = append(args, w.args...), append(ways, w)
		}
	}
	return args, ways
}

// TestGlobalWaysTogether: each credential is known to its own way, the first of
// two that a request has counts, and a webhook that does not answer stops no
// other way: what only it could know is 503.
func TestGlobalWaysTogether(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	args, all := together(i.ways())
	p := i.start(args...)
	for _, w := range all {
		p.awaitWay(i, &w)
	}
	asked := i.webhook.asked.Load()
	for _, w := range all {
		p.check([]call{w.call(i, p, w.accepted())})
	}
	if n := i.webhook.asked.Load(); n != asked {
		t.Errorf("the webhook was asked %d times about tokens that others know or that it knew before", n-asked)
	}
	carol, alice := all[0].accepted(), all[1].accepted()
	p.check([]call{
		{name: "headers before the token", client: i.client(p, "mounts"), header: all[0].header, token: "static-token", path: "/clusters/root:far/api", want: carol},
		{name: "certificate before the token", client: i.client(p, "alice"), token: "static-token", path: "/clusters/root:far/api", want: alice},
		{name: "certificate beside a bad token", client: i.client(p, "alice"), token: "garbage", path: "/clusters/root:far/api", want: alice},
		{name: "a bad certificate and a good token", client: i.client(p, "stranger"), token: "static-token", path: "/clusters/root:far/api", want: all[2].accepted()},
		{name: "headers without a certificate", client: p.client(), header: all[0].header, path: "/clusters/root:far/api", want: unauthorized},
		{name: "unknown to all", client: p.client(), token: "garbage", path: "/clusters/root:far/api", want: unauthorized},
	})
	i.webhook.down.Store(true)
	for _, w := range all {
		p.check([]call{w.call(i, p, w.accepted())}) // the webhook's too, from its cache
	}
	p.check([]call{
		{name: "webhook down", client: p.client(), token: "unheard-of", path: "/clusters/root:far/api", want: undecided},
		{name: "webhook down, no credential", client: p.client(), path: "/clusters/root:far/api", want: unauthorized},
	})
	i.webhook.down.Store(false)
	p.await(p.client(), "/clusters/root:far/api", "unheard-of", http.StatusUnauthorized)
}

// TestGroupsPassedOn: the filter is for every global identity, and for
// system:authenticated.
func TestGroupsPassedOn(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	args, all := together(i.ways())
	p := i.start(append(args, "--authentication-pass-on-groups=abc,sup*,system:*,devs", "--authentication-drop-groups=system:kcp:*,system:masters,system:auth*")...)
	for _, w := range all {
		p.awaitWay(i, &w)
		want := w.accepted()
		want.Groups = slices.DeleteFunc(want.Groups, func(g string) bool { return g == "system:authenticated" || g == "system:kcp:admin" })
		p.check([]call{w.call(i, p, want)})
	}
}

// TestTokensInSubprotocols: a token in a WebSocket's subprotocol is as good as
// one in a header, for every way that takes tokens, and stays here.
func TestTokensInSubprotocols(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	args, all := together(i.ways())
	p := i.start(args...)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(i.kcp.ServingCA.PEM)
	dial := func(token string, header http.Header, protocols ...string) (standin.WhoAmI, int) {
		d := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: roots}}
		if token != "" {
			protocols = append(protocols, "base64url.bearer.authorization.k8s.io."+base64.RawURLEncoding.EncodeToString([]byte(token)))
		}
		d.Subprotocols = protocols
		c, resp, err := d.Dial("wss"+strings.TrimPrefix(p.url, "https")+"/clusters/root:far/api/v1/namespaces/x/pods/y/exec", header)
		if err != nil {
			if resp == nil {
				t.Fatal(err)
			}
			return standin.WhoAmI{}, resp.StatusCode
		}
		defer func() { _ = c.Close() }()
		var me standin.WhoAmI
		if err := c.ReadJSON(&me); err != nil {
			t.Fatal(err)
		}
		if c.Subprotocol() != "v5.channel.k8s.io" {
			t.Errorf("subprotocol %q", c.Subprotocol())
		}
		return me, http.StatusSwitchingProtocols
	}
	for _, w := range all {
		if w.token == "" {
			continue
		}
		p.awaitWay(i, &w)
		me, code := dial(w.token, nil, "v5.channel.k8s.io")
		want := w.accepted()
		got := reply{Code: code - 101 + 200, Shard: me.Shard, Path: want.Path, User: me.User, Groups: me.Groups, Extra: want.Extra}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", w.name, diff)
		}
		if left := me.Header.Values("Sec-Websocket-Protocol"); !slices.Equal(left, []string{"v5.channel.k8s.io"}) || me.Header.Get("Authorization") != "" {
			t.Errorf("%s: the shard was offered %q", w.name, left)
		}
	}
	for _, tt := range []struct {
		name, token string
		header      http.Header
		protocols   []string
	}{
		{name: "no credential", protocols: []string{"v5.channel.k8s.io"}},
		{name: "bad token", token: "garbage", protocols: []string{"v5.channel.k8s.io"}},
		{name: "nothing but the token", token: "static-token"},
		{name: "beside another token", token: "static-token", header: http.Header{"Authorization": {"Bearer static-token"}}, protocols: []string{"v5.channel.k8s.io"}},
	} {
		if _, code := dial(tt.token, tt.header, tt.protocols...); code != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", tt.name, code)
		}
	}
}

// TestCertificatesOnEveryPath: every kind of certificate, with and without
// identity headers, on every kind of path.
func TestCertificatesOnEveryPath(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	issuer := newIssuer(t)
	i.kcp.Root.PutConfiguration("root", "issuer", trusting(issuer))
	i.kcp.Root.PutType("root", "team", "issuer")
	i.kcp.Root.PutWorkspace("root", "typed", "typedworkspace01", "root", "team", nil)
	i.shard.PutCluster("typedworkspace01", "root:team", nil)
	base, url := arguments(t, i.kcp, i.kcp.MappingEntry("/clusters/"), i.kcp.MappingEntry("/services/"), i.kcp.MappingEntry("/extra/{cluster}/"), i.kcp.MappingEntry("/"))
	p := startProxy(t, i.kcp, url, append(append(base, i.ways()[0].args...), "--feature-gates=WorkspaceAuthentication=true"))
	p.await(p.client(), "/clusters/root:typed/api", issuer.Sign(issuertest.Claims{"sub": "u", "aud": "ws"}), http.StatusOK)

	paths := map[string]reply{
		"/clusters/root:far/api":              {Code: 200, Shard: "shard-1", Path: "/clusters/" + farTeam + "/api"},
		"/clusters/root:typed/api":            {Code: 200, Shard: "shard-1", Path: "/clusters/typedworkspace01/api"},
		"/services/vw/clusters/root:typed/x":  {Code: 200, Shard: "root", Path: "/services/vw/clusters/root:typed/x"},
		"/services/vw/clusters/*/x":           {Code: 200, Shard: "root", Path: "/services/vw/clusters/*/x"},
		"/extra/root:typed/x":                 {Code: 200, Shard: "root", Path: "/extra/root:typed/x"},
		"/anything":                           {Code: 200, Shard: "root", Path: "/anything"},
		"/clusters/root:far/metrics":          {Code: 200, Shard: "shard-1", Path: "/clusters/" + farTeam + "/metrics"},
		"/clusters/root:typed/readyz/verbose": {Code: 200, Shard: "shard-1", Path: "/clusters/typedworkspace01/readyz/verbose"},
	}
	anyone := p.client()
	for path, reached := range paths {
		want := reached
		if strings.Contains(path, "typed") {
			want = unauthorized // the type has issuers: there a credential is needed
		}
		p.check([]call{
			{name: "no certificate", client: anyone, path: path, want: want},
			{name: "no certificate, headers", client: anyone, header: asserted, path: path, want: want},
		})
	}
	for _, tt := range []struct {
		cert   string
		header http.Header
		user   string // empty: 401
		groups []string
		extra  map[string][]string
	}{
		{cert: "alice", user: "alice", groups: []string{"devs", "system:kcp:admin"}},
		{cert: "alice", header: asserted, user: "alice", groups: []string{"devs", "system:kcp:admin"}},
		{cert: "mounts", header: asserted, user: "carol", groups: []string{"ops"}, extra: map[string][]string{"authentication.kcp.io/scopes": {"cluster:" + rootTeam}}},
		{cert: "mounts"},
		{cert: "other proxy"},
		{cert: "other proxy", header: asserted},
		{cert: "expired"},
		{cert: "expired", header: asserted},
		{cert: "expired mounts", header: asserted},
		{cert: "stranger"},
		{cert: "stranger", header: asserted},
		{cert: "stranger mounts", header: asserted},
	} {
		t.Run(fmt.Sprintf("%s, headers %t", tt.cert, tt.header != nil), func(t *testing.T) {
			p.t = t
			for path, reached := range paths {
				want := unauthorized
				if tt.user != "" {
					want = reached
					want.User, want.Groups, want.Extra = tt.user, authenticated(slices.Clone(tt.groups)...), tt.extra
				}
				p.check([]call{{name: tt.cert, client: i.client(p, tt.cert), header: tt.header, path: path, want: want}})
			}
		})
	}
	p.t = t
}

// TestMountReentry: a shard that serves a mount calls the proxy back as kcp-mounts-proxy, for whom
// it serves; that one reaches what it may reach itself, scopes and warrants
// included, and the shard's certificate lends nothing of its own.
func TestMountReentry(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	p := i.start(append(i.ways()[0].args, i.ways()[1].args...)...)
	warrant := `{"user":"x","groups":["system:cluster:root"]}`
	key := func(name string) string { return "X-Remote-Extra-" + strings.ReplaceAll(name, "/", "%2f") }
	header := http.Header{
		"X-Remote-User": {"system:serviceaccount:default:bot"}, "X-Remote-Group": {"system:serviceaccounts", "system:kcp:initializer:root:x"},
		key("Authentication.kcp.io/cluster-name"): {rootTeam}, key("Authentication.kcp.io/scopes"): {"cluster:" + rootTeam},
		key("Authorization.kcp.io/warrant"): {warrant},
	}
	want := reply{
		Code: 200, Shard: "shard-1", Path: "/clusters/" + farTeam + "/api", User: "system:serviceaccount:default:bot",
		Groups: []string{"system:authenticated", "system:serviceaccounts"},
		Extra: map[string][]string{
			"authentication.kcp.io/cluster-name": {rootTeam}, "authentication.kcp.io/scopes": {"cluster:" + rootTeam}, "authorization.kcp.io/warrant": {warrant},
		},
	}
	p.check([]call{
		{name: "for a service account", client: i.client(p, "mounts"), header: header, path: "/clusters/root:far/api", want: want},
		{name: "a name with white space", client: i.client(p, "mounts"), header: http.Header{"X-Remote-User": {"system:admin%20"}, "X-Remote-Group": {"a\tb"}},
			path: "/clusters/root:far/api", want: unauthorized},
		{name: "for nobody", client: i.client(p, "mounts"), path: "/clusters/root:far/api", want: unauthorized},
		{name: "to what does not exist", client: i.client(p, "mounts"), header: header, path: "/clusters/root:nobody/api", want: forbidden},
	})
}
