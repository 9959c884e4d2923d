package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/standin"
)

// TestEachPowerForItsOwnUse: with a kubeconfig for each, the proxy's identities
// are used for what they are for and for nothing else; above all, the watches'
// certificate never goes with a client's request.
func TestEachPowerForItsOwnUse(t *testing.T) {
	t.Parallel()
	k, issuer := newTeam(t)
	other := addShard(t, k, "shard-1")
	k.Root.PutWorkspace("root", "ws", clusterName(1), "root", "team", nil)
	other.PutCluster(clusterName(1), "root:team", nil)
	other.PutServiceAccount(clusterName(1), "default", "robot", "uid-1")
	keys := keyPair(t, k, "accounts")
	identity := func(name string, purposes ...standin.Purpose) string {
		path, err := k.KubeconfigFor(name, purposes...)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	args, url := arguments(t, k)
	p := startProxy(t, k, url, append(args, "--feature-gates=WorkspaceAuthentication=true",
		"--root-kubeconfig="+identity("proxy-root", standin.ForRoot, standin.ForReviews),
		"--shards-kubeconfig="+identity("proxy-watches", standin.ForWatches),
		"--service-account-lookup-kubeconfig="+identity("proxy-look-ups", standin.ForLookUps),
		"--service-account-key-file="+keys.KeyFile))

	client := p.client()
	token := issuer.Sign(issuertest.Claims{"sub": "alice", "aud": "ws"})
	p.await(client, "/clusters/root:ws/api", token, http.StatusOK)
	robot := signed(t, keys, map[string]any{
		"iss": "https://kcp.default.svc", "sub": "system:serviceaccount:default:robot", "aud": []string{"https://kcp.default.svc"},
		"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "nbf": time.Now().Unix(),
		"kubernetes.io": map[string]any{"namespace": "default", "clusterName": clusterName(1), "serviceaccount": map[string]any{"name": "robot", "uid": "uid-1"}},
	})
	if code, me := p.ask(client, "/clusters/"+clusterName(1)+"/api", robot); code != http.StatusOK || me.User != "system:serviceaccount:default:robot" {
		t.Errorf("the service account is answered %d as %q", code, me.User)
	}
	// Refused and passed-through requests, and upgrades, bring no other certificate.
	p.ask(client, "/clusters/root:ws/api", "")
	p.ask(client, "/clusters/root:ws/api", "forged-forged")
	p.await(p.client(certificate(t, k, "dora")), "/clusters/root:ws/apis/apps/v1/deployments?limit=500", "", http.StatusOK)
	p.await(p.client(certificate(t, k, "dora")), "/metrics", "", http.StatusForbidden)

	want := map[standin.Purpose][]string{
		standin.ForWatches: {"proxy-watches"}, standin.ForRoot: {"proxy-root"}, standin.ForReviews: {"proxy-root"}, standin.ForClients: {"front-proxy"},
	}
	got := k.Root.Callers()
	delete(want, standin.ForClients) // the workspace is on the other shard
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("certificates seen by the root shard (-want +got):\n%s", diff)
	}
	want = map[standin.Purpose][]string{
		standin.ForWatches: {"proxy-watches"}, standin.ForLookUps: {"proxy-look-ups"}, standin.ForClients: {"front-proxy"},
	}
	if diff := cmp.Diff(want, other.Callers()); diff != "" {
		t.Errorf("certificates seen by the other shard (-want +got):\n%s", diff)
	}
}

// TestLookUpsNeedTheirRight: an identity without the right to look up leaves
// service accounts undecided and says so to the operator; nobody is let in and
// no other identity is used instead.
func TestLookUpsNeedTheirRight(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	k.Root.PutServiceAccount("root", "default", "robot", "uid-1")
	keys := keyPair(t, k, "accounts")
	powerless, err := k.KubeconfigFor("powerless")
	if err != nil {
		t.Fatal(err)
	}
	args, url := arguments(t, k)
	p := startProxy(t, k, url, append(args, "--service-account-lookup-kubeconfig="+powerless, "--service-account-key-file="+keys.KeyFile))
	robot := signed(t, keys, map[string]any{
		"iss": "https://kcp.default.svc", "sub": "system:serviceaccount:default:robot", "aud": []string{"https://kcp.default.svc"},
		"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "nbf": time.Now().Unix(),
		"kubernetes.io": map[string]any{"namespace": "default", "clusterName": "root", "serviceaccount": map[string]any{"name": "robot", "uid": "uid-1"}},
	})
	p.await(p.client(), "/clusters/root/api", robot, http.StatusServiceUnavailable)
	if callers := strings.Join(k.Root.Callers()[standin.ForLookUps], " "); callers != "powerless" {
		t.Errorf("look-ups came from %q", callers)
	}
}
