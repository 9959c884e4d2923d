package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/standin"
)

const (
	typedTeam = "typedworkspace01" // root:typed on shard-1, whose type has an issuer
	aliceHome = "v1u4alow0iv9"     // the home workspace of alice, on shard-1
	external  = "https://kcp.example:6443"
)

// routed is a kcp with every kind of workspace, behind a proxy with every kind
// of mapping.
type routed struct {
	*installation
	p     *runningProxy
	token string // of a user of root:typed
}

func newRouted(t *testing.T, args ...string) *routed {
	t.Helper()
	r := &routed{installation: newInstallation(t)}
	root, shard := r.kcp.Root, r.shard
	tenant := newIssuer(t)
	root.PutConfiguration("root", "issuer", trusting(tenant))
	root.PutType("root", "typed", "issuer")
	root.PutWorkspace("root", "typed", typedTeam, "root", "typed", nil)
	shard.PutCluster(typedTeam, "root:typed", nil)
	shard.PutCluster(aliceHome, "root:home", nil)
	shard.PutWorkspace(aliceHome, "own", "aliceown00000001", "root", "universal", nil)
	root.PutCluster("aliceown00000001", "root:universal", nil)
	root.PutWorkspaceInPhase("Scheduling", "root", "soon", "scheduling000001", "root", "organization")
	root.PutWorkspaceInPhase("Unavailable", "root", "gone", "unavailable00001", "root", "organization")
	root.PutCluster("unavailable00001", "root:organization", nil)
	root.PutWorkspace("unavailable00001", "child", rootTeam, "root", "organization", nil)
	shard.ExternalURL = external
	r.kcp.ListShard(shard)
	root.PutMount("root", "at-shard", shard.URL+"/clusters/root:typed")
	root.PutMount("root", "at-front", external+"/clusters/root:typed")
	root.PutMount("root", "at-services", external+"/services/vw/clusters/root:typed")
	root.PutMount("root", "at-nothing", external+"/clusters/root:nobody")
	root.PutMount("root", "at-all", external+"/clusters/*")
	root.PutMount("root", "loop", external+"/clusters/root:loop")
	root.PutMount("root", "plain", "http://kcp.example/")

	onShard := func(entry string) string { return strings.Replace(entry, root.URL, shard.URL, 1) }
	base, url := arguments(t, r.kcp,
		r.kcp.MappingEntry("/"),
		r.kcp.MappingEntry("/clusters/"),
		r.kcp.MappingEntry("/services/"),
		onShard(r.kcp.MappingEntry("/services/special/")),
		onShard(r.kcp.MappingEntry("/by/{cluster}/")),
		r.kcp.MappingEntry("/by/"+typedTeam+"/exactly/"),
		r.kcp.MappingEntry("/uid/")+"  uid_header: X-Remote-Uid\n",
		r.kcp.MappingEntry("/renamed/")+"  user_header: X-Who\n  group_header: X-Team\n  extra_header_prefix: X-More-\n  uid_header: X-Number\n",
		r.kcp.MappingEntry("/open/")+"  authentication: pass-through\n",
	)
	r.p = startProxy(t, r.kcp, url, append(append(base, "--feature-gates=WorkspaceAuthentication=true",
		"--service-account-key-file="+r.accounts[0].CertFile, "--token-auth-file="+file(t, "tokens.csv", []byte("static-token,frank,7,abc\n"))), args...))
	r.token = tenant.Sign(issuertest.Claims{"sub": "dave", "aud": []string{"ws"}, "groups": []string{"devs"}})
	r.p.await(r.p.client(), "/clusters/root:typed/api", r.token, http.StatusOK)
	return r
}

// dave is the user of root:typed, at home there.
func dave(shard, path string) reply {
	r := as(shard, path, "dave", "devs", "system:authenticated")
	r.Extra = account("", "", typedTeam).Extra
	return r
}

func TestRouting(t *testing.T) {
	r := newRouted(t)
	anyone, alice := r.p.client(), r.client(r.p, "alice")
	reaches := func(shard, path string) reply {
		return as(shard, path, "alice", authenticated("devs", "system:kcp:admin")...)
	}
	r.p.check([]call{
		{name: "by name", client: alice, path: "/clusters/" + farTeam + "/api", want: reaches("shard-1", "/clusters/"+farTeam+"/api")},
		{name: "by path", client: alice, path: "/clusters/root:far/api/a%2Fb/?x=%2F", want: reaches("shard-1", "/clusters/"+farTeam+"/api/a%2Fb/")},
		{name: "home", client: alice, path: "/clusters/user:alice/api", want: reaches("shard-1", "/clusters/"+aliceHome+"/api")},
		{name: "below home", client: alice, path: "/clusters/user:alice:own/api", want: reaches("root", "/clusters/aliceown00000001/api")},
		{name: "no home", client: alice, path: "/clusters/user:nobody/api", want: forbidden},
		{name: "unknown", client: alice, path: "/clusters/root:nobody/api", want: forbidden},
		{name: "unknown, without a credential", client: anyone, path: "/clusters/root:nobody/api", want: forbidden},
		{name: "scheduling", client: alice, path: "/clusters/root:soon/api", want: forbidden},
		{name: "unavailable", client: alice, path: "/clusters/root:gone/api", want: undecided},
		{name: "unavailable, without a credential", client: anyone, path: "/clusters/root:gone/api", want: undecided},
		{name: "below unavailable", client: alice, path: "/clusters/root:gone:child/api", want: undecided},
		{name: "unavailable, by name", client: alice, path: "/clusters/unavailable00001/api", want: reaches("root", "/clusters/unavailable00001/api")},
		{name: "all clusters", client: alice, path: "/clusters/*/api", want: forbidden},
		{name: "system cluster", client: alice, path: "/clusters/system:admin/api", want: forbidden},
		{name: "dot segment", client: alice, path: "/clusters/%2e%2e/api", want: reply{Code: 400, Reason: "BadRequest"}},

		{name: "default", client: alice, path: "/anything/at/all", want: reaches("root", "/anything/at/all")},
		{name: "no credential at the default", client: anyone, path: "/anything", want: unauthorized},
		{name: "services", client: alice, path: "/services/vw/x", want: reaches("root", "/services/vw/x")},
		{name: "a longer path", client: alice, path: "/services/special/x", want: reaches("shard-1", "/services/special/x")},
		{name: "placeholder", client: alice, path: "/by/root:team/x", want: reaches("shard-1", "/by/root:team/x")},
		{name: "a literal beats a placeholder", client: alice, path: "/by/" + typedTeam + "/exactly/x", want: reaches("root", "/by/"+typedTeam+"/exactly/x")},
		{name: "the backend authenticates", client: anyone, token: "garbage", path: "/open/x", want: reply{Code: 200, Shard: "root", Path: "/open/x", Token: true}},
	})
}

// TestWorkspaceUsersOnOtherMappings: a type's users get in wherever the path
// names their workspace, tied to it, and nowhere else.
func TestWorkspaceUsersOnOtherMappings(t *testing.T) {
	r := newRouted(t)
	anyone := r.p.client()
	r.p.check([]call{
		{name: "services", client: anyone, token: r.token, path: "/services/vw/clusters/root:typed/x", want: dave("root", "/services/vw/clusters/root:typed/x")},
		{name: "services, by name", client: anyone, token: r.token, path: "/services/special/a/clusters/" + typedTeam + "/x", want: dave("shard-1", "/services/special/a/clusters/"+typedTeam+"/x")},
		{name: "the first cluster counts", client: anyone, token: r.token, path: "/services/vw/clusters/root:far/apis/g/clusters/root:typed/x", want: unauthorized},
		{name: "services, elsewhere", client: anyone, token: r.token, path: "/services/vw/clusters/root:far/x", want: unauthorized},
		{name: "services, all clusters", client: anyone, token: r.token, path: "/services/vw/clusters/*/x", want: unauthorized},
		{name: "services, no cluster", client: anyone, token: r.token, path: "/services/vw/x", want: unauthorized},
		{name: "services, unknown cluster", client: anyone, token: r.token, path: "/services/vw/clusters/root:nobody/x", want: forbidden},
		{name: "placeholder", client: anyone, token: r.token, path: "/by/root:typed/x", want: dave("shard-1", "/by/root:typed/x")},
		{name: "placeholder, elsewhere", client: anyone, token: r.token, path: "/by/root:far/x", want: unauthorized},
		{name: "default", client: anyone, token: r.token, path: "/x", want: unauthorized},
	})
}

// TestMountsOfWorkspaces: below a shard or the proxy's own address a mount is
// as if the caller had asked there.
func TestMountsOfWorkspaces(t *testing.T) {
	r := newRouted(t)
	anyone, alice := r.p.client(), r.client(r.p, "alice")
	at := "/clusters/" + typedTeam + "/api"
	admin := as("shard-1", at, "alice", authenticated("devs", "system:kcp:admin")...)
	looped := reply{Code: 508}
	r.p.check([]call{
		{name: "below a shard's base URL", client: alice, path: "/clusters/root:at-shard/api", want: admin},
		{name: "below the proxy's address", client: alice, path: "/clusters/root:at-front/api", want: admin},
		{name: "a user of the target's type", client: anyone, token: r.token, path: "/clusters/root:at-front/api", want: dave("shard-1", at)},
		{name: "services", client: anyone, token: r.token, path: "/clusters/root:at-services/api", want: dave("root", "/services/vw/clusters/root:typed/api")},
		{name: "no credential", client: anyone, path: "/clusters/root:at-front/api", want: unauthorized},
		{name: "to what does not exist", client: alice, path: "/clusters/root:at-nothing/api", want: forbidden},
		{name: "to all clusters", client: alice, path: "/clusters/root:at-all/api", want: forbidden},
		{name: "round and round", client: alice, path: "/clusters/root:loop/api", want: looped},
		{name: "without TLS", client: alice, path: "/clusters/root:plain/api", want: forbidden},
	})
}

// TestInClusterPaths: pods know their API server's address and no cluster; the
// claim of their token routes, and only its signature proves.
func TestInClusterPaths(t *testing.T) {
	t.Parallel()
	r := newRouted(t)
	anyone := r.p.client()
	r.shard.PutServiceAccount(farTeam, "default", "bot", "bot-uid")
	bound := boundToken(t, r.accounts[0], farTeam)
	legacy := legacyToken(t, r.accounts[0], farTeam, "bot-token")
	r.shard.PutTokenSecret(farTeam, "default", "bot-token", legacy)
	forged := boundToken(t, r.accounts[1], farTeam)
	bot := account("shard-1", "/clusters/"+farTeam+"/api/v1/namespaces", farTeam)
	elsewhere := func(path string) reply { return account("root", path, farTeam) }
	r.p.check([]call{
		{name: "bound", client: anyone, token: bound, path: "/api/v1/namespaces", want: bot},
		{name: "legacy", client: anyone, token: legacy, path: "/api/v1/namespaces", want: bot},
		{name: "forged", client: anyone, token: forged, path: "/api/v1/namespaces", want: unauthorized},
		{name: "of a cluster that does not exist", client: anyone, token: boundToken(t, r.accounts[0], "nobodys"), path: "/api/v1/namespaces", want: forbidden},
		{name: "a shard asks", client: anyone, token: bound, header: http.Header{"X-Kubernetes-Sharded-Request": {"true"}}, path: "/api/v1/namespaces", want: elsewhere("/api/v1/namespaces")},
		{name: "below another mapping", client: anyone, token: bound, path: "/services/vw/x", want: elsewhere("/services/vw/x")},
		{name: "below clusters", client: anyone, token: bound, path: "/clusters/root:team/api", want: elsewhere("/clusters/" + rootTeam + "/api")},
		{name: "not a service account's", client: anyone, token: "static-token", path: "/api/v1/namespaces", want: as("root", "/api/v1/namespaces", "frank", "abc", "system:authenticated")},
	})
	if n := r.shard.Lookups.Load(); n == 0 {
		t.Error("nobody asked the home shard for the account")
	}
	r.shard.RemoveServiceAccount(farTeam, "default", "bot")
	for _, token := range []string{bound, legacy} {
		r.p.await(anyone, "/api/v1/namespaces", token, http.StatusUnauthorized)
	}
}

// TestIdentityHeadersByMapping: the names of a mapping's headers, and the UID
// where one is named for it.
func TestIdentityHeadersByMapping(t *testing.T) {
	r := newRouted(t)
	anyone := r.p.client()
	frank := as("root", "/uid/x", "frank", "abc", "system:authenticated")
	frank.UID = "7"
	r.p.check([]call{
		{name: "UID", client: anyone, token: "static-token", path: "/uid/x", want: frank},
		{name: "asserted by the client", client: anyone, token: "static-token", header: http.Header{"X-Remote-Uid": {"0"}, "X-Remote-User": {"root"}}, path: "/uid/x", want: frank},
	})
	me := r.p.whoAmI(anyone, "/renamed/clusters/root:typed/x", func(q *http.Request) {
		q.Header.Set("Authorization", "Bearer "+r.token)
		q.Header.Set("X-Who", "root")
		q.Header.Set("X-Remote-User", "root")
		q.Header.Set("X-More-Scopes", "root")
	})
	got := map[string][]string{}
	for _, key := range []string{"X-Who", "X-Team", "X-Number", "X-More-Scopes", "X-Remote-User", "Authorization", "X-More-Authentication.kcp.io%2fscopes"} {
		if v := me.Header.Values(key); len(v) > 0 {
			got[key] = v
		}
	}
	want := map[string][]string{"X-Who": {"dave"}, "X-Team": {"devs", "system:authenticated"}, "X-More-Authentication.kcp.io%2fscopes": {"cluster:" + typedTeam}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// whoAmI is what a stand-in shard says to a request.
func (p *runningProxy) whoAmI(c *http.Client, path string, change func(*http.Request)) standin.WhoAmI {
	p.t.Helper()
	q, err := http.NewRequest(http.MethodGet, p.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	change(q)
	resp, err := c.Do(q)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	var me standin.WhoAmI
	if err := json.Unmarshal(body, &me); err != nil || resp.StatusCode != http.StatusOK {
		p.t.Fatalf("GET %s: %s %s", path, resp.Status, body)
	}
	return me
}

// TestHostAndForwarding: the client's Host stays, X-Forwarded-For grows,
// Impersonate-* is the shard's to judge.
func TestHostAndForwarding(t *testing.T) {
	r := newRouted(t)
	me := r.p.whoAmI(r.client(r.p, "alice"), "/clusters/root:far/api", func(q *http.Request) {
		q.Host = "kcp.example:6443"
		q.Header.Set("X-Forwarded-For", "192.0.2.1")
		q.Header.Set("Impersonate-User", "bob")
		q.Header.Set("Impersonate-Group", "devs")
	})
	want := map[string][]string{
		"Host": {"kcp.example:6443"}, "X-Forwarded-For": {"192.0.2.1, 127.0.0.1"}, "Impersonate-User": {"bob"}, "Impersonate-Group": {"devs"},
	}
	got := map[string][]string{}
	for key := range want {
		got[key] = me.Header[key]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// TestCORSAndProfiler: the flags of both.
func TestCORSAndProfiler(t *testing.T) {
	profiler := "127.0.0.1:" + freePort(t)
	r := newRouted(t, "--cors-allowed-origins=//console\\.example$,//other\\.example(:|$)", "--profiler-address="+profiler)
	for origin, allowed := range map[string]bool{"https://console.example": true, "https://other.example:8443": true, "https://console.example.evil": false} {
		for _, method := range []string{http.MethodOptions, http.MethodGet} {
			q, err := http.NewRequest(method, r.p.url+"/clusters/root:far/api", nil)
			if err != nil {
				t.Fatal(err)
			}
			q.Header.Set("Origin", origin)
			q.Header.Set("Access-Control-Request-Method", "GET")
			resp, err := r.p.client().Do(q)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			got := resp.Header.Get("Access-Control-Allow-Origin")
			if (got == origin) != allowed || !allowed && got != "" {
				t.Errorf("%s from %s: allowed origin %q", method, origin, got)
			}
			if want := http.StatusNoContent; method == http.MethodOptions && allowed && resp.StatusCode != want {
				t.Errorf("preflight from %s: %d, want %d", origin, resp.StatusCode, want)
			}
		}
	}
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + profiler + "/debug/pprof/goroutine?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "goroutine profile") {
		t.Errorf("the profiler answers %s, %v", resp.Status, err)
	}
}
