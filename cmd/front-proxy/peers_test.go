package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPeerConfigs(t *testing.T) {
	t.Parallel()
	mounted := newInstallation(t).pod("/clusters/")
	two := file(t, "two", []byte(mounted.in(peersKubeconfig("https://a.example:6443", "https://b.example:6443"))))
	again := file(t, "again", []byte(mounted.in(peersKubeconfig("https://b.example:6443", "https://c.example:6443"))))
	peers, err := peerConfigs([]string{two, again})
	if err != nil {
		t.Fatal(err)
	}
	var hosts []string
	for _, p := range peers {
		hosts = append(hosts, p.Host)
		if !strings.HasSuffix(p.CertFile, "/kubeconfig-client-cert/tls.crt") || !strings.HasSuffix(p.CAFile, "/tls/ca/tls.crt") {
			t.Errorf("%s has the certificate %q and the CA %q", p.Host, p.CertFile, p.CAFile)
		}
	}
	if diff := cmp.Diff([]string{"https://a.example:6443", "https://b.example:6443", "https://c.example:6443"}, hosts); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
	for text, want := range map[string]string{"{}": "has no cluster", "][": "--shard-peer-kubeconfig"} {
		if _, err := peerConfigs([]string{file(t, "bad", []byte(text))}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestShardPeers is against stand-in shards, since kcp up to v0.32 has no Admin
// workspace: with the root shard down, peers tell of a new shard, which becomes one, too,
// and what the root shard showed stays.
func TestShardPeers(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	kubeconfig, err := i.kcp.Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	peer := newPod(t)
	peer.mount("/etc/kcp/tls/ca", map[string][]byte{"tls.crt": i.kcp.ServingCA.PEM})
	peer.pair("/etc/kcp-front-proxy/kubeconfig-client-cert", i.kcp.Watching)
	peers := file(t, "peers", []byte(peer.in(peersKubeconfig("https://127.0.0.1:1", i.shard.URL))))
	p := i.start("--client-ca-file="+i.kcp.ClientCA.File, "--root-kubeconfig="+kubeconfig, "--shard-peer-kubeconfig="+peers)
	alice := i.client(p, "alice")
	p.await(alice, "/clusters/root:far/api", "", http.StatusOK)
	p.await(alice, "/clusters/newonthird000001/api", "", http.StatusForbidden)

	i.kcp.Root.Stop()
	third := addShard(t, i.kcp, "shard-2")
	third.PutCluster("newonthird000001", "root:organization", nil)
	p.await(alice, "/clusters/newonthird000001/api", "", http.StatusOK)
	p.await(alice, "/clusters/root:far/api", "", http.StatusOK)
	p.await(alice, "/clusters/root:team/api", "", http.StatusServiceUnavailable) // known, but its shard is down

	i.shard.Stop() // no configured peer is left: the third shard tells of a fourth
	fourth := addShard(t, i.kcp, "shard-3")
	fourth.PutCluster("newonfourth00001", "root:organization", nil)
	p.await(alice, "/clusters/newonfourth00001/api", "", http.StatusOK)
}
