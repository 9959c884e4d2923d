package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
	"frontproxy/e2e/standin"
)

// keyPair is a key for service account tokens.
func keyPair(t *testing.T, k *standin.KCP, name string) harness.KeyPair {
	t.Helper()
	pair, err := k.ServingCA.Serving(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// watch opens a watch and returns what tells when it has ended.
func (p *runningProxy) watch(path, token string) <-chan time.Time {
	p.t.Helper()
	return p.watchAs(p.client(), path, token)
}

// watchAs is watch with a client of the caller's, which has no time limit
// afterwards.
func (p *runningProxy) watchAs(client *http.Client, path, token string) <-chan time.Time {
	p.t.Helper()
	ended := make(chan time.Time, 1)
	p.openWatch(client, path, token, func(error) { ended <- time.Now() })
	return ended
}

// openWatch is watchAs that calls over when the watch has ended, with nil if it
// did as an answer ends that is complete.
func (p *runningProxy) openWatch(client *http.Client, path, token string, over func(error)) {
	p.t.Helper()
	client.Timeout = 0
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.url+path+"?watch=true", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	lines := bufio.NewReader(resp.Body)
	if _, err := lines.ReadString('\n'); err != nil || resp.StatusCode != http.StatusOK {
		p.t.Fatalf("watch %s: %d, %v", path, resp.StatusCode, err)
	}
	go func() {
		_, err := io.Copy(io.Discard, lines)
		_ = resp.Body.Close()
		over(err)
	}()
}

func (p *runningProxy) endsWithin(what string, ended <-chan time.Time, limit time.Duration) {
	p.t.Helper()
	select {
	case <-ended:
	case <-time.After(limit):
		p.t.Errorf("%s: the watch is open after %v", what, limit)
	}
}

// TestAccountsAcrossShards: keys from the shards, through a migration, and the
// end of what was admitted. Against stand-in shards, which migrate step by step.
func TestAccountsAcrossShards(t *testing.T) {
	t.Parallel()
	const home = "moving0000000001"
	k, issuer := newTeam(t)
	other := addShard(t, k, "shard-1")
	rootKey, otherKey := keyPair(t, k, "root"), keyPair(t, k, "other")
	k.Root.PutWorkspace("root", "ws", home, "root", "team", nil)
	k.Root.PutCluster(home, "root:team", nil)
	k.Root.PutServiceAccount(home, "default", "bot", "bot-uid")
	if err := other.PublishKeys(otherKey); err != nil {
		t.Fatal(err)
	}
	args, url := arguments(t, k)
	p := startProxy(t, k, url, append(args, "--feature-gates=WorkspaceAuthentication=true", "--service-account-keys-from-shards"))
	client, path := p.client(), "/clusters/root:ws/api"
	bot, forged := boundToken(t, rootKey, home), boundToken(t, otherKey, home)

	if code, _ := p.ask(client, path, bot); code != http.StatusServiceUnavailable {
		t.Errorf("before the keys of root were read: %d, want 503", code)
	}
	if err := k.Root.PublishKeys(rootKey); err != nil {
		t.Fatal(err)
	}
	p.await(client, path, bot, http.StatusOK)
	p.await(client, path, forged, http.StatusUnauthorized)

	migrating := map[string]string{"internal.kcp.io/migrating": "true"}
	other.PutCluster(home, "root:team", migrating)
	k.Root.PutCluster(home, "root:team", migrating)
	p.await(client, path, bot, http.StatusServiceUnavailable)
	other.PutCluster(home, "root:team", nil)
	p.await(client, path, bot, http.StatusUnauthorized) // not found at its new home yet
	other.PutServiceAccount(home, "default", "bot", "bot-uid")
	p.await(client, path, bot, http.StatusOK)
	p.await(client, path, forged, http.StatusOK) // no forgery any more: its home is there
	k.Root.RemoveCluster(home)
	p.await(client, path, bot, http.StatusOK)

	alice := issuer.Sign(issuertest.Claims{"sub": "alice", "aud": []string{"ws"}})
	p.await(client, path, alice, http.StatusOK)
	k.Root.PutType("root", "constant", "issuer")
	k.Root.PutWorkspace("root", "constant", "constant00000001", "root", "constant", nil)
	k.Root.PutCluster("constant00000001", "root:constant", nil)
	p.await(client, "/clusters/root:constant/api", alice, http.StatusOK)
	ofBot, ofAlice, ofConstant := p.watch(path, bot), p.watch(path, alice), p.watch("/clusters/root:constant/api", alice)
	other.RemoveServiceAccount(home, "default", "bot")
	k.Root.PutType("root", "team")
	p.await(client, path, bot, http.StatusUnauthorized)
	p.await(client, path, alice, http.StatusUnauthorized)
	p.endsWithin("the account is deleted", ofBot, 30*time.Second)
	p.endsWithin("the type trusts its issuer no more", ofAlice, 30*time.Second)
	select {
	case <-ofConstant:
		t.Error("a watch that is admitted as before has ended")
	default:
	}
}

// TestShardsVirtualWorkspacesByFlag: the route, and the groups of shards' own
// certificates there.
func TestShardsVirtualWorkspacesByFlag(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	addShard(t, k, "root-1")
	args, url := arguments(t, k)
	p := startProxy(t, k, url, append(args, "--shard-virtual-workspaces", "--shard-client-common-names=shard-client-root,root-1=shard-client-root-1"))
	shardClient, err := k.ClientCA.Client(t.TempDir(), "shard-client-root", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	bound, err := k.ClientCA.Client(t.TempDir(), "shard-client-root-1", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	admin, err := k.ClientCA.Client(t.TempDir(), "admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	const services = "/services/replication/x/clusters/*/apis"
	for _, tc := range []struct {
		pair        harness.KeyPair
		path, shard string
		masters     bool
	}{
		{shardClient, "/shards/root" + services, "root", true},
		{shardClient, "/shards/root-1" + services, "root-1", true},
		{shardClient, "/clusters/root/api", "root", false},
		{bound, "/shards/root-1" + services, "root-1", true},
		{bound, "/shards/root" + services, "root", false},
		{bound, "/clusters/root/api", "root", false},
		{admin, "/shards/root" + services, "root", false},
	} {
		cert := tlsCertificate(t, tc.pair)
		// kcp sends the token of its loopback client along.
		code, me := p.ask(p.clientSending(cert), tc.path, "loopback-token-of-a-shard")
		if code != http.StatusOK || me.Shard != tc.shard || slices.Contains(me.Groups, "system:masters") != tc.masters {
			t.Errorf("%s is answered %d by %q for groups %q; want %q, with system:masters %v", tc.path, code, me.Shard, me.Groups, tc.shard, tc.masters)
		}
		if me.Header.Get("Authorization") != "" {
			t.Errorf("%s: the token went on to the virtual workspaces", tc.path)
		}
	}
	if code, _ := p.ask(p.clientSending(tlsCertificate(t, admin)), "/shards/nobody"+services, ""); code != http.StatusForbidden {
		t.Errorf("an unknown shard is answered %d, want 403", code)
	}
}

func tlsCertificate(t *testing.T, pair harness.KeyPair) tls.Certificate {
	t.Helper()
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestFlagsAcrossShards(t *testing.T) {
	for args, want := range map[string]string{
		"--shard-virtual-workspaces --shard-client-common-names=a,b":                                  "",
		"--shard-client-common-names=a":                                                               "--shard-virtual-workspaces",
		"--shard-virtual-workspaces --shard-client-common-names=a,s=b":                                "",
		"--shard-virtual-workspaces --shard-client-common-names=s=":                                   "must be shard=name",
		"--shard-virtual-workspaces --shard-client-common-names==b":                                   "must be shard=name",
		"--shard-virtual-workspaces --shard-virtual-workspace-server=a=https://a:6444,b=https://b/vw": "",
		"--shard-virtual-workspaces --shard-virtual-workspace-server=a=http://a:6444":                 "must be like https://",
		"--shard-virtual-workspaces --shard-virtual-workspace-server=a=https://kcp/shards/a/":         "leads back",
		"--service-account-lookup-grace=-1s":                                                          "cannot be negative",
		"--service-account-lookup-grace=10m --service-account-keys-from-shards":                       "",
		"--service-account-keys-from-shards --service-account-issuer=":                                "--service-account-issuer",
	} {
		o, err := parse(strings.Fields(args))
		if err != nil {
			t.Errorf("%s: %v", args, err)
			continue
		}
		err = errors.Join(o.across.validate(), o.auth.validate())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}
