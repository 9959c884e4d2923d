package main

import (
	"net/http"
	"testing"

	"frontproxy/authn/issuer/issuertest"
)

// TestTwoClustersInAPath: wherever a path names two clusters, a type's user gets
// into its own at most. A shard takes the first one off a path and reads the rest
// anew, as far as to a virtual workspace that acts in the second one: so nothing
// of that form goes to a shard, and elsewhere the authenticators and the scope
// are those of the cluster that the virtual workspace reads.
func TestTwoClustersInAPath(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	issuer, others := newIssuer(t), newIssuer(t)
	k.Root.PutConfiguration("root", "a", trusting(issuer))
	k.Root.PutConfiguration("root", "b", trusting(others))
	k.Root.PutType("root", "team-a", "a")
	k.Root.PutType("root", "team-b", "b")
	const a, b = "clustera00000001", "clusterb00000001"
	k.Root.PutWorkspace("root", "a", a, "root", "team-a", nil)
	k.Root.PutCluster(a, "root:team-a", nil)
	k.Root.PutWorkspace("root", "b", b, "root", "team-b", nil)
	k.Root.PutCluster(b, "root:team-b", nil)
	args, url := arguments(t, k, k.MappingEntry("/clusters/"), k.MappingEntry("/services/"), k.MappingEntry("/of/{cluster}/"))
	for name, to := range map[string]string{
		"services": "/services/apiexport/" + a + "/e", "nested": "/clusters/" + a + "/services/apiexport/" + a + "/e", "doubled": "/clusters/" + a + "//x",
	} {
		k.Root.PutMount("root", name, url+to)
	}
	p := startProxy(t, k, url, append(args, "--feature-gates=WorkspaceAuthentication=true", "--external-url="+url))
	client, token := p.client(), issuer.Sign(issuertest.Claims{"sub": "alice", "aud": "ws"})
	p.await(client, "/clusters/"+a+"/api", token, http.StatusOK)
	p.await(client, "/clusters/"+b+"/api", others.Sign(issuertest.Claims{"sub": "bob", "aud": "ws"}), http.StatusOK)

	const vw = "/services/apiexport/" + a + "/e"
	for _, tt := range []struct {
		path string
		code int
	}{
		// What must keep on working.
		{"/clusters/" + a, 200},
		{"/clusters/" + a + "/", 200},
		{"/clusters/" + a + "/api/v1/namespaces/x/services/y/proxy/clusters/" + b, 200},
		{"/clusters/" + a + "/apis/cluster.x-k8s.io/v1beta1/clusters/" + b, 200},
		{"/services/apiexport/" + b + "/e/clusters/" + a + "/apis/cluster.x-k8s.io/v1beta1/clusters/" + b, 200},
		{"/clusters/" + a + "/api?cluster=" + b + "&path=/clusters/" + b, 200},
		// A virtual workspace below a cluster, in every spelling that a shard decodes.
		{"/clusters/" + a + vw + "/clusters/" + b + "/api", 400},
		{"/clusters/root:a" + vw + "/clusters/" + b + "/api", 400},
		{"/clusters/" + a + "/%73ervices/apiexport/" + a + "/e/clusters/" + b + "/api", 400},
		{"/clusters/" + a + "/services%2Fapiexport/" + a + "/e/clusters/" + b + "/api", 400},
		{"/clusters/" + a + "/" + vw + "/clusters/" + b + "/api", 400},
		{"/clusters/" + a + "//x" + vw + "/clusters/" + b + "/api", 400},
		{"/clusters/" + a + "/." + vw + "/clusters/" + b + "/api", 400},
		{"/clusters/" + a + "/%2Fx" + vw + "/clusters/" + b + "/api", 400},
		// A cluster below a cluster.
		{"/clusters/" + a + "/clusters/" + b + "/api", 400},
		{"/clusters/" + a + "/%63lusters/" + b + "/api", 400},
		{"/clusters/" + a + "/clusters%2F" + b + "/api", 400},
		{"/clusters/" + a + "//x/clusters/" + b + "/api", 400},
		// The virtual workspace reads the cluster where it expects one.
		{vw + "/clusters/" + b + "/api", 401},
		{vw + "/%63lusters/" + b + "/api", 401},
		{vw + "%2Fclusters%2F" + b + "/clusters/" + a + "/api", 400},
		{"/services/apiexport/clusters/" + a + "/clusters/" + b + "/api", 400},
		{"/services/apiexport/clusters/" + a + "/%63lusters/" + b + "/api", 400},
		{"/services/apiexport/clusters/" + a + "/clusters%2F" + b + "/api", 400},
		{"/services/apiexport/" + a + "/clusters/clusters/" + b + "/api", 403},
		{vw + "/clusters/" + b + "/clusters/" + a + "/api", 400},
		{"/of/" + b + "/clusters/" + a + "/api", 401},
		// Mounts are read anew, as a whole.
		{"/clusters/root:services/clusters/" + a + "/api", 200},
		{"/clusters/root:services/clusters/" + b + "/api", 401},
		{"/clusters/root:nested/clusters/" + b + "/api", 400},
		{"/clusters/root:doubled" + vw + "/clusters/" + b + "/api", 400},
		{"/clusters/root:doubled/clusters/" + b + "/api", 400},
	} {
		code, me := p.ask(client, tt.path, token)
		if code != tt.code {
			t.Errorf("%s: %d, want %d; the shard got %s", tt.path, code, tt.code, me.Path)
		}
		if code == 200 && (me.User != "alice" || len(me.Extra["authentication.kcp.io/scopes"]) != 1 || me.Extra["authentication.kcp.io/scopes"][0] != "cluster:"+a) {
			t.Errorf("%s: the shard reads %s with %v", tt.path, me.User, me.Extra)
		}
	}
}
