package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	logsapi "k8s.io/component-base/logs/api/v1"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/standin"
)

// The tests here run the whole program, from its arguments on, in front of
// stand-in shards.

func TestMain(m *testing.M) {
	if os.Getenv(runAsProgram) != "" {
		main()
		return
	}
	// The program applies its logging flags once; the tests run it often, always
	// with the same ones.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
	// Most of them wait most of the time: for files that settle, for a drain.
	if err := flag.Set("test.parallel", strconv.Itoa(4*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	os.Exit(recorded(m.Run))
}

// runningProxy is a front-proxy of a test.
type runningProxy struct {
	t    testing.TB
	kcp  *standin.KCP
	url  string
	stop func() error // ends it and returns what run returned; nil: it is a process
	pid  int          // of that process
}

// newKCP is what every program of a test is started in front of. These tests are three quarters of
// this package's and take minutes: make test runs them, make test-unit does not.
func newKCP(t testing.TB) *standin.KCP {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts the whole program: make test runs it")
	}
	k, err := standin.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

func addShard(t testing.TB, k *standin.KCP, name string) *standin.Shard {
	t.Helper()
	s, err := k.AddShard(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newTeam is a kcp whose workspace type root:team trusts an issuer.
func newTeam(t *testing.T) (*standin.KCP, *issuertest.Issuer) {
	t.Helper()
	k, issuer := newKCP(t), newIssuer(t)
	k.Root.PutConfiguration("root", "issuer", trusting(issuer))
	k.Root.PutType("root", "team", "issuer")
	return k, issuer
}

// arguments are what every proxy in front of k needs, with its mapping file
// made of entries; empty means one for /clusters/.
func arguments(t testing.TB, k *standin.KCP, entries ...string) (args []string, url string) {
	t.Helper()
	kubeconfig, err := k.Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) == 0 {
		entries = []string{k.MappingEntry("/clusters/")}
	}
	mapping := filepath.Join(t.TempDir(), "mapping.yaml")
	if err := os.WriteFile(mapping, []byte(strings.Join(entries, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	serving, err := k.ServingCA.Serving(t.TempDir(), "proxy")
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	return []string{
		"--mapping-file=" + mapping, "--root-kubeconfig=" + kubeconfig, "--shards-kubeconfig=" + kubeconfig, "--root-directory=" + t.TempDir(),
		"--bind-address=127.0.0.1", "--secure-port=" + port, "--tls-cert-file=" + serving.CertFile, "--tls-private-key-file=" + serving.KeyFile,
		"--client-ca-file=" + k.ClientCA.File, fmt.Sprintf("-v=%d", verbosity),
	}, "https://127.0.0.1:" + port
}

// startProxy runs the program and waits until it is ready.
func startProxy(t *testing.T, k *standin.KCP, url string, args []string) *runningProxy {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var output strings.Builder
	go func() { ended <- run(ctx, args, &output) }()
	stop := sync.OnceValue(func() error { cancel(); return <-ended })
	p := &runningProxy{t: t, kcp: k, url: url, stop: stop}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("front-proxy ended with: %v", err)
		}
	})
	client := p.client()
	deadline := time.Now().Add(60 * time.Second) // a shard that is down holds readiness back for 30 s
	for {
		resp, err := client.Get(url + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return p
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("front-proxy ended at once: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready after 60 s: %v", err)
		}
	}
}

// startGated runs the program with WorkspaceAuthentication, and somebody's token,
// so that nothing passes through.
func startGated(t *testing.T, k *standin.KCP) *runningProxy {
	t.Helper()
	args, url := arguments(t, k)
	return startProxy(t, k, url, append(args, "--feature-gates=WorkspaceAuthentication=true",
		"--token-auth-file="+file(t, "tokens.csv", []byte("somebodys-token,somebody,,\n"))))
}

// client returns a client of the proxy, with the certificate if one is given.
func (p *runningProxy) client(certs ...tls.Certificate) *http.Client {
	p.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.kcp.ServingCA.PEM)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 32}
	p.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// ask sends a GET, with a token if it is not empty, and returns the answer's
// code and who the shard took the caller for.
func (p *runningProxy) ask(c *http.Client, path, token string) (int, standin.WhoAmI) {
	p.t.Helper()
	r, err := http.NewRequest(http.MethodGet, p.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if token != "" {
		written.secret(token)
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(r)
	if err != nil {
		p.t.Errorf("GET %s: %v", path, err)
		return 0, standin.WhoAmI{}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Errorf("GET %s: %v", path, err)
	}
	var me standin.WhoAmI
	if resp.StatusCode != http.StatusOK {
		written.answer(body)
	} else {
		if err := json.Unmarshal(body, &me); err != nil {
			p.t.Errorf("GET %s: %v in %s", path, err, body)
		}
	}
	return resp.StatusCode, me
}

// await asks until the answer has the code.
func (p *runningProxy) await(c *http.Client, path, token string, code int) {
	p.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		got, _ := p.ask(c, path, token)
		if got == code {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("GET %s answers %d after 20 s, want %d", path, got, code)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// trusting is a configuration's jwt entry for an issuer: names and groups
// without a prefix.
func trusting(i *issuertest.Issuer) standin.Object {
	return standin.Object{
		"issuer":        standin.Object{"url": i.URL(), "audiences": []string{"ws"}, "certificateAuthority": i.CAPEM()},
		"claimMappings": standin.Object{"username": standin.Object{"claim": "sub", "prefix": ""}, "groups": standin.Object{"claim": "groups", "prefix": ""}},
	}
}

func newIssuer(t *testing.T) *issuertest.Issuer {
	t.Helper()
	return issuertest.Serve(t, issuertest.Options{})
}

// newRSAIssuer is one whose tokens --oidc-issuer-url accepts unless --oidc-signing-algs says
// otherwise.
func newRSAIssuer(t *testing.T) *issuertest.Issuer {
	t.Helper()
	return issuertest.Serve(t, issuertest.Options{Algorithm: jose.RS256})
}

// TestOneTokenAtAThousandWorkspaces: each request sees its own workspace's
// scope, however many are under way with the same token.
func TestOneTokenAtAThousandWorkspaces(t *testing.T) {
	t.Parallel()
	const workspaces, rounds, workers = 1000, 4, 16
	k, issuer := newTeam(t)
	other := addShard(t, k, "shard-1")
	cluster := func(n int) string { return fmt.Sprintf("c%015d", n) }
	for n := range workspaces {
		k.Root.PutWorkspace("root", fmt.Sprintf("ws-%d", n), cluster(n), "root", "team", nil)
		shard := []*standin.Shard{k.Root, other}[n%2]
		shard.PutCluster(cluster(n), "root:team", nil)
	}
	args, url := arguments(t, k)
	p := startProxy(t, k, url, append(args, "--feature-gates=WorkspaceAuthentication=true"))
	token := issuer.Sign(issuertest.Claims{"sub": "alice", "aud": []string{"ws"}, "groups": []string{"devs", "system:masters"}})
	client := p.client()
	p.await(client, "/clusters/root:ws-0/api", token, http.StatusOK)

	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for i := range workspaces * rounds / workers {
				n := (worker*61 + i*37) % workspaces
				path := "/clusters/root:ws-" + fmt.Sprint(n)
				if i%2 == 0 {
					path = "/clusters/" + cluster(n)
				}
				code, me := p.ask(client, path+"/api/v1/x", token)
				want := standin.WhoAmI{
					Shard: []string{"root", "shard-1"}[n%2], Path: "/clusters/" + cluster(n) + "/api/v1/x", User: "alice",
					Groups: []string{"devs", "system:authenticated"},
					Extra:  map[string][]string{"authentication.kcp.io/scopes": {"cluster:" + cluster(n)}, "authentication.kcp.io/cluster-name": {cluster(n)}},
				}
				me.Header = nil
				if diff := cmp.Diff(want, me); code != http.StatusOK || diff != "" {
					t.Errorf("workspace %d answers %d (-want +got):\n%s", n, code, diff)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestMigration stops at each step of a migration, which a real kcp takes too
// fast for (e2e.TestMigration).
func TestMigration(t *testing.T) {
	t.Parallel()
	k, issuer := newTeam(t)
	other := addShard(t, k, "shard-1")
	k.Root.PutWorkspace("root", "ws", "moving0000000001", "root", "team", nil)
	k.Root.PutCluster("moving0000000001", "root:team", nil)
	args, url := arguments(t, k)
	p := startProxy(t, k, url, append(args, "--feature-gates=WorkspaceAuthentication=true"))
	token := issuer.Sign(issuertest.Claims{"sub": "alice", "aud": []string{"ws"}})
	client := p.client()
	on := func(shard string) {
		t.Helper()
		deadline := time.Now().Add(20 * time.Second)
		for {
			code, me := p.ask(client, "/clusters/root:ws/api", token)
			if code == http.StatusOK && me.Shard == shard {
				if me.User != "alice" || me.Extra["authentication.kcp.io/cluster-name"][0] != "moving0000000001" {
					t.Errorf("on %s the shard reads %+v", shard, me)
				}
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the workspace is at %q (%d) after 20 s, want %q", me.Shard, code, shard)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	on("root")
	migrating := map[string]string{"internal.kcp.io/migrating": "true"}
	other.PutCluster("moving0000000001", "root:team", migrating)
	on("root") // the copy is not ready
	k.Root.PutCluster("moving0000000001", "root:team", migrating)
	p.await(client, "/clusters/root:ws/api", token, http.StatusServiceUnavailable)
	other.PutCluster("moving0000000001", "root:team", nil)
	on("shard-1")
	k.Root.RemoveCluster("moving0000000001")
	on("shard-1")
}
