package main

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"frontproxy/authn/issuer/issuertest"
)

// TestAdminWorkspaceOnAnyShard is against stand-in shards, since kcp up to v0.32 has no
// Admin workspace: any shard that is up gets the request, under the identity that a global
// authenticator vouches for. Users of a workspace type get nothing there.
func TestAdminWorkspaceOnAnyShard(t *testing.T) {
	t.Parallel()
	const path = "/services/admin/apis/core.kcp.io/v1alpha1/shards"
	i := newInstallation(t)
	issuer := newIssuer(t)
	i.kcp.Root.PutConfiguration("root", "tenants", trusting(issuer))
	i.kcp.Root.PutType("root", "tenant", "tenants")
	i.kcp.Root.PutWorkspace("root", "tenant", "tenant0000000001", "root", "tenant", nil)
	i.kcp.Root.PutCluster("tenant0000000001", "root:tenant", nil)
	p := i.start("--client-ca-file="+i.kcp.ClientCA.File, "--feature-gates=WorkspaceAuthentication=true",
		"--token-auth-file="+file(t, "tokens.csv", []byte("secret,carol,3\n")))
	alice, nobody := i.client(p, "alice"), p.client()
	p.await(alice, "/clusters/root:far/api", "", http.StatusOK)
	token := issuer.Sign(issuertest.Claims{"sub": "bob", "aud": "ws", "groups": []string{"system:kcp:admin"}})
	p.await(nobody, "/clusters/root:tenant/api", token, http.StatusOK)

	answered := map[string]int{}
	for range 10 {
		code, me := p.ask(alice, path, "")
		if code != http.StatusOK || me.User != "alice" || !slices.Contains(me.Groups, "system:kcp:admin") || slices.Contains(me.Groups, "system:masters") || me.Path != path || len(me.Extra["authentication.kcp.io/scopes"]) > 0 {
			t.Fatalf("answers %d as %+v", code, me)
		}
		answered[me.Shard]++
	}
	if answered["root"] != 5 || answered["shard-1"] != 5 {
		t.Errorf("shards have answered %v times, want 5 times each", answered)
	}
	for _, path := range []string{path, "/services/admin", "/services/admin/clusters/tenant0000000001/api", "/services/admin/clusters/root:tenant/api"} {
		if code, me := p.ask(nobody, path, token); code != http.StatusUnauthorized {
			t.Errorf("%s answers a user of a type %d as %+v", path, code, me)
		}
		if code, me := p.ask(nobody, path, ""); code != http.StatusUnauthorized {
			t.Errorf("%s answers nobody %d as %+v", path, code, me)
		}
	}

	i.kcp.Root.Stop()
	deadline := time.Now().Add(time.Minute)
	for row := 0; row < 6; {
		code, me := p.ask(alice, path, "")
		row++
		if code != http.StatusOK || me.Shard != "shard-1" {
			row = 0
		}
		if time.Now().After(deadline) {
			t.Fatalf("one shard is down, and the answer is %d from %q", code, me.Shard)
		}
	}
	i.shard.Stop()
	p.await(alice, path, "", http.StatusServiceUnavailable)
	for resp := (*http.Response)(nil); resp == nil || resp.Header.Get("Retry-After") == ""; { // until then a request may still go to the shard, and fail
		var err error
		if resp, err = alice.Get(p.url + path); err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || time.Now().After(deadline) {
			t.Fatalf("all shards are down, and the answer is %d %v", resp.StatusCode, resp.Header)
		}
	}
}
