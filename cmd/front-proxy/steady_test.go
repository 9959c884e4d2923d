package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
	"frontproxy/e2e/standin"
)

// steady is a load of valid requests that never pauses: whatever is not
// answered with 200 is lost. Each of its visitors has its own connection.
type steady struct {
	asked    atomic.Int64
	of       []*atomic.Int64 // those of each visitor
	mu       sync.Mutex      // guards lost
	lost     []string
	stopped  chan struct{}
	visitors sync.WaitGroup
	clients  []*http.Client
}

// visitor asks one path as one user, over and over.
type visitor struct {
	name, path, token string
	certs             []tls.Certificate
	http1             bool
	// anew: a connection for each request.
	anew bool
	// mint, when it is set, makes a token for each request.
	mint func() string
}

// load starts the visitors.
func (p *runningProxy) load(visitors ...visitor) *steady {
	p.t.Helper()
	s := &steady{stopped: make(chan struct{})}
	for _, a := range visitors {
		client := p.client(a.certs...)
		transport := client.Transport.(*http.Transport)
		transport.ForceAttemptHTTP2 = !a.http1
		if a.http1 {
			transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		}
		transport.DisableKeepAlives = a.anew
		asked := new(atomic.Int64)
		s.clients, s.of = append(s.clients, client), append(s.of, asked)
		s.visitors.Go(func() { s.ask(client, p.url, a, asked) })
	}
	p.t.Cleanup(s.end)
	return s
}

func (s *steady) ask(client *http.Client, url string, a visitor, asked *atomic.Int64) {
	for {
		select {
		case <-s.stopped:
			return
		case <-time.After(5 * time.Millisecond):
		}
		if err := once(client, url, a); err != nil {
			s.mu.Lock()
			s.lost = append(s.lost, fmt.Sprintf("%s %s: %v", time.Now().Format("05.000"), a.name, err))
			s.mu.Unlock()
		}
		asked.Add(1)
		s.asked.Add(1)
	}
}

func once(client *http.Client, url string, a visitor) error {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url+a.path, nil)
	if err != nil {
		return err
	}
	if a.mint != nil {
		a.token = a.mint()
	}
	if a.token != "" {
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %d: %s", resp.StatusCode, body)
	}
	return err
}

func (s *steady) end() {
	select {
	case <-s.stopped:
	default:
		close(s.stopped)
	}
	s.visitors.Wait()
	for _, c := range s.clients {
		c.CloseIdleConnections()
	}
}

// passed waits until n more requests have been answered, and of each visitor's two, the
// second of which began after passed was called: so every visitor has met what was
// changed. It gives up when a visitor is not answered any more.
func (s *steady) passed(t *testing.T, n int64) {
	t.Helper()
	want := s.asked.Load() + n
	for v, asked := range s.of {
		s.answered(t, fmt.Sprint("visitor ", v), asked, asked.Load()+2)
	}
	s.answered(t, "any visitor", &s.asked, want)
}

// answered waits until asked is as large as wanted. It gives up when it has not grown
// for half a minute; a request of its own gives up after 20 s.
func (s *steady) answered(t *testing.T, whose string, asked *atomic.Int64, want int64) {
	t.Helper()
	seen, deadline := asked.Load(), time.Now().Add(30*time.Second)
	for seen < want {
		if time.Now().After(deadline) {
			t.Fatalf("no request of %s is answered any more: %d in all, want %d", whose, seen, want)
		}
		time.Sleep(5 * time.Millisecond)
		if now := asked.Load(); now > seen {
			seen, deadline = now, time.Now().Add(30*time.Second)
		}
	}
}

// none fails when a request was lost since it was called last.
func (s *steady) none(t *testing.T, during string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.lost); n > 0 {
		t.Errorf("%s: %d requests lost, the first: %s", during, n, s.lost[0])
		s.lost = nil
	}
}

// TestNothingIsLost: steady valid load, by token and certificate, at both
// shards, over HTTP/1.1, HTTP/2 and new connections, with open watches, while
// everything that the proxy reads changes, breaks and comes back.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	k := i.kcp
	global, tenants := newIssuer(t), newIssuer(t)
	k.Root.PutConfiguration("root", "issuer", trusting(tenants))
	k.Root.PutType("root", "tenant", "issuer")
	const tenant = "tenant0000000001"
	k.Root.PutWorkspace("root", "tenant", tenant, "root", "tenant", nil)
	i.shard.PutCluster(tenant, "root:tenant", nil)

	const readers = "token-of-prometheus,prometheus,1," + standin.MetricsReader + "\n"
	const volume = "/etc/front-proxy"
	pod := newPod(t)
	path := func(name string) string { return pod.in(volume + "/" + name) }
	serving, err := k.ServingCA.Serving(t.TempDir(), "proxy")
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := func(who harness.KeyPair) []byte {
		written := filepath.Join(t.TempDir(), "kubeconfig")
		if err := harness.WriteKubeconfig(written, &rest.Config{Host: k.Root.URL, TLSClientConfig: rest.TLSClientConfig{CAData: k.ServingCA.PEM, CertData: who.Cert, KeyData: who.Key}}); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(written)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	entries := func(more string) []byte {
		return []byte(strings.NewReplacer(k.Forwarding.CertFile, path("forward.crt"), k.Forwarding.KeyFile, path("forward.key"),
			k.ServingCA.File, path("shards-ca.crt")).Replace(k.MappingEntry("/clusters/")) + more)
	}
	files := map[string][]byte{
		"mapping.yaml": entries(""), "forward.crt": k.Forwarding.Cert, "forward.key": k.Forwarding.Key, "shards-ca.crt": k.ServingCA.PEM,
		"tls.crt": serving.Cert, "tls.key": serving.Key, "clients.crt": k.ClientCA.PEM, "authn.yaml": []byte(structured(global)),
		"tokens.csv": []byte("token-of-frank,frank,,abc\n" + readers), "accounts.pub": i.accounts[0].Cert,
		"root.kubeconfig": kubeconfig(k.Watching), "shards.kubeconfig": kubeconfig(k.Watching),
	}
	pod.mount(volume, files)
	change := func(name string, content []byte) {
		t.Helper()
		files[name] = content
		pod.mount(volume, files)
	}
	p := i.start("--mapping-file="+path("mapping.yaml"), "--tls-cert-file="+path("tls.crt"), "--tls-private-key-file="+path("tls.key"),
		"--client-ca-file="+path("clients.crt"), "--authentication-config="+path("authn.yaml"), "--token-auth-file="+path("tokens.csv"),
		"--root-kubeconfig="+path("root.kubeconfig"), "--shards-kubeconfig="+path("shards.kubeconfig"),
		"--service-account-key-file="+path("accounts.pub"), "--feature-gates=WorkspaceAuthentication=true")
	i.shard.PutServiceAccount(farTeam, "default", "bot", "bot-uid")
	later := time.Now().Add(time.Hour).Unix()
	fresh := func(s *issuertest.Issuer, audience string) string {
		return s.Sign(issuertest.Claims{"sub": "dave", "aud": []string{audience}, "exp": later})
	}
	const near, far, rented = "/clusters/root:team/api", "/clusters/root:far/api", "/clusters/root:tenant/api"
	visitors := []visitor{
		{name: "certificate, HTTP/2, root", path: near, certs: []tls.Certificate{i.users["alice"]}},
		{name: "certificate, HTTP/1.1, shard-1", path: far, certs: []tls.Certificate{i.users["alice"]}, http1: true},
		{name: "certificate, new connections", path: far, certs: []tls.Certificate{i.users["alice"]}, anew: true},
		{name: "global token, HTTP/2", path: near, token: fresh(global, "kcp")},
		{name: "workspace token, HTTP/1.1", path: rented, token: fresh(tenants, "ws"), http1: true},
		{name: "static token, HTTP/2", path: far, token: "token-of-frank"},
		{name: "service account, HTTP/1.1", path: far, token: boundToken(t, i.accounts[0], farTeam), http1: true},
	}
	for _, a := range visitors {
		p.await(p.client(a.certs...), a.path, a.token, http.StatusOK)
	}
	load := p.load(visitors...)
	watches := map[string]<-chan time.Time{
		"certificate": p.watchAs(p.client(i.users["alice"]), near, ""),
		"global":      p.watch(far, visitors[3].token),
		"workspace":   p.watch(rented, visitors[4].token),
		"static":      p.watch(near, "token-of-frank"),
		"account":     p.watch(far, visitors[6].token),
	}
	// called waits until a shard is shown the certificate of that name.
	called := func(t *testing.T, s *standin.Shard, purpose standin.Purpose, name string) {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for !slices.Contains(s.Callers()[purpose], name) {
			if time.Now().After(deadline) {
				t.Fatalf("%s is not shown the certificate of %s", s.Name, name)
			}
			load.passed(t, 50)
		}
	}
	failing := func(source string, want bool) {
		t.Helper()
		p.awaitMetric("token-of-prometheus", fmt.Sprintf("front_proxy_config_last_reload_successful{source=%q} %d", source, map[bool]int{false: 1}[want]))
	}

	faults := []struct {
		name  string
		wreak func(t *testing.T)
	}{
		{"a mapping is added, its route works, and it is removed", func(t *testing.T) {
			more := strings.Replace(string(entries("")), "path: /clusters/", "path: /elsewhere/", 1)
			p.await(p.client(), "/elsewhere/api", "token-of-frank", http.StatusNotFound)
			change("mapping.yaml", entries(more))
			p.await(p.client(), "/elsewhere/api", "token-of-frank", http.StatusOK)
			change("mapping.yaml", entries(""))
			p.await(p.client(), "/elsewhere/api", "token-of-frank", http.StatusNotFound)
		}},
		{"the mapping file breaks and is mended", func(t *testing.T) {
			change("mapping.yaml", []byte("- path: /clusters/\n  bakend: x\n"))
			failing("mapping-file", true)
			load.passed(t, 60)
			change("mapping.yaml", entries(""))
			failing("mapping-file", false)
		}},
		{"the mapping file is gone and comes back", func(t *testing.T) {
			if err := os.Remove(path("mapping.yaml")); err != nil {
				t.Fatal(err)
			}
			failing("mapping-file", true)
			load.passed(t, 60)
			change("mapping.yaml", entries("# a comment\n"))
			failing("mapping-file", false)
		}},
		{"the pair shown to shards is rotated", func(t *testing.T) {
			pair, err := k.RequestHeaderCA.Client(t.TempDir(), "front-proxy-next")
			if err != nil {
				t.Fatal(err)
			}
			files["forward.crt"] = pair.Cert
			change("forward.key", pair.Key)
			called(t, k.Root, standin.ForClients, "front-proxy-next")
		}},
		{"the serving certificate is rotated, first to a pair that is none", func(t *testing.T) {
			pair, err := k.ServingCA.Serving(t.TempDir(), "proxy-next")
			if err != nil {
				t.Fatal(err)
			}
			change("tls.crt", pair.Cert)
			load.passed(t, 150)
			change("tls.key", pair.Key)
			p.awaitServing(pair.Cert)
		}},
		{"the client CA's bundle grows and shrinks, and is rubbish in between", func(t *testing.T) {
			next, err := harness.NewCA(t.TempDir(), "next-ca")
			if err != nil {
				t.Fatal(err)
			}
			pair, err := next.Client(t.TempDir(), "emil")
			if err != nil {
				t.Fatal(err)
			}
			change("clients.crt", append(append([]byte(nil), k.ClientCA.PEM...), next.PEM...))
			emil := visitor{name: "emil", path: near, certs: []tls.Certificate{tlsCertificate(t, pair)}, anew: true}
			p.awaitVisitor(emil, true) // a connection shows what the proxy asked for when it was made
			change("clients.crt", []byte("rubbish"))
			load.passed(t, 150)
			change("clients.crt", k.ClientCA.PEM)
			p.awaitVisitor(emil, false)
		}},
		{"the authentication configuration breaks, is mended, and gains an issuer", func(t *testing.T) {
			other := newIssuer(t)
			change("authn.yaml", []byte("kind: Nonsense\n"))
			failing("authentication-config", true)
			load.passed(t, 60)
			change("authn.yaml", []byte(structured(global, other)))
			p.await(p.client(), near, fresh(other, "kcp"), http.StatusOK)
			failing("authentication-config", false)
		}},
		{"the token file breaks and is mended", func(t *testing.T) {
			change("tokens.csv", []byte("\"\n"))
			failing("token-auth-file", true)
			load.passed(t, 60)
			change("tokens.csv", []byte("token-of-frank,frank,,abc\ntoken-of-grete,grete,,abc\n"+readers))
			p.await(p.client(), near, "token-of-grete", http.StatusOK)
			failing("token-auth-file", false)
		}},
		{"the issuers are down", func(t *testing.T) {
			global.SetDown(true)
			tenants.SetDown(true)
			load.passed(t, 300)
			// Unknown, and good: verified with the keys that are known.
			p.await(p.client(), near, fresh(global, "kcp"), http.StatusOK)
			p.await(p.client(), rented, fresh(tenants, "ws"), http.StatusOK)
			global.SetDown(false)
			tenants.SetDown(false)
		}},
		{"the issuers rotate their keys and still publish the old", func(t *testing.T) {
			global.RotateKeeping()
			tenants.RotateKeeping()
			p.await(p.client(), near, fresh(global, "kcp"), http.StatusOK)
			p.await(p.client(), rented, fresh(tenants, "ws"), http.StatusOK)
		}},
		{"configuration and type are written without a change, then changed", func(t *testing.T) {
			for range 20 {
				k.Root.PutConfiguration("root", "issuer", trusting(tenants))
				k.Root.PutType("root", "tenant", "issuer")
			}
			load.passed(t, 150)
			second := newIssuer(t)
			k.Root.PutConfiguration("root", "issuer", trusting(tenants), trusting(second))
			p.await(p.client(), rented, fresh(second, "ws"), http.StatusOK)
			k.Root.PutConfiguration("root", "broken", standin.Object{"issuer": standin.Object{"url": "http://not-https.example", "audiences": []string{"ws"}}})
			k.Root.PutType("root", "tenant", "issuer", "broken")
			load.passed(t, 300)
			k.Root.PutType("root", "tenant", "issuer")
		}},
		{"the keys of service accounts are rotated, and are rubbish in between", func(t *testing.T) {
			next := boundToken(t, i.accounts[1], farTeam)
			p.await(p.client(), far, next, http.StatusUnauthorized)
			change("accounts.pub", []byte("rubbish"))
			failing("service-account-key-file", true)
			load.passed(t, 60)
			change("accounts.pub", append(append([]byte(nil), i.accounts[1].Cert...), i.accounts[0].Cert...))
			p.await(p.client(), far, next, http.StatusOK)
			failing("service-account-key-file", false)
		}},
		{"the kubeconfigs are rotated, and are rubbish in between", func(t *testing.T) {
			next, err := k.ClientCA.Client(t.TempDir(), "watcher-next", "system:masters")
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"root-kubeconfig", "shards-kubeconfig"} {
				file := strings.Replace(name, "-", ".", 1)
				change(file, []byte("rubbish"))
				failing(name, true)
				load.passed(t, 60)
				change(file, kubeconfig(next))
				failing(name, false)
			}
			i.shard.Expire() // a watch goes on as it began
			called(t, i.shard, standin.ForWatches, "watcher-next")
		}},
		{"everything is listed again, ten times at both shards", func(t *testing.T) {
			for range 10 {
				k.Root.Expire()
				i.shard.Expire()
				load.passed(t, 60)
			}
			// What came meanwhile is known, too.
			k.Root.PutWorkspace("root", "after", "after00000000001", "root", "organization", nil)
			i.shard.PutCluster("after00000000001", "root:organization", nil)
			p.await(p.client(), "/clusters/root:after/api", "token-of-frank", http.StatusOK)
		}},
		{"a shard's base URL changes", func(t *testing.T) {
			leave, err := i.shard.Move()
			if err != nil {
				t.Fatal(err)
			}
			k.ListShard(i.shard)
			deadline := time.Now().Add(time.Minute)
			for "https://"+*i.shard.At.Load() != i.shard.URL {
				if time.Now().After(deadline) {
					t.Fatalf("it is asked at %s, want %s", *i.shard.At.Load(), i.shard.URL)
				}
				load.passed(t, 10)
			}
			load.passed(t, 300)
			leave() // which is the end of what is open there
			for _, name := range []string{"global", "account", "workspace"} {
				<-watches[name]
				delete(watches, name)
			}
		}},
		{"a third shard comes and goes", func(t *testing.T) {
			third := addShard(t, k, "shard-2")
			k.Root.PutWorkspace("root", "third", "third00000000001", "root", "organization", nil)
			third.PutCluster("third00000000001", "root:organization", nil)
			p.await(p.client(), "/clusters/root:third/api", "token-of-frank", http.StatusOK)
			k.UnlistShard("shard-2")
			load.passed(t, 300)
		}},
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			before := load.asked.Load()
			f.wreak(t)
			load.passed(t, 100)
			load.none(t, f.name)
			for name, ended := range watches {
				select {
				case <-ended:
					t.Errorf("the watch by %s has ended", name)
				default:
				}
			}
			t.Logf("%d requests, none lost", load.asked.Load()-before)
		})
	}
	load.end()
	load.none(t, "at the end") // those that were under way, too
	t.Logf("%d requests in all", load.asked.Load())
}

// awaitVisitor waits until v is let in, or is not, over a connection of its own.
func (p *runningProxy) awaitVisitor(v visitor, in bool) {
	p.t.Helper()
	client := p.client(v.certs...)
	client.Transport.(*http.Transport).DisableKeepAlives = true
	deadline := time.Now().Add(90 * time.Second)
	for {
		err := once(client, p.url, v)
		if (err == nil) == in {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: let in is wanted to be %t: %v", v.name, in, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// awaitMetric waits until the page has the line.
func (p *runningProxy) awaitMetric(reader, line string) {
	p.t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for {
		code, page := p.page(reader)
		if code == http.StatusOK && strings.Contains(string(page), "\n"+line+"\n") {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("/metrics, answered %d, has no line %s", code, line)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// awaitServing waits until new connections are served with the certificate.
func (p *runningProxy) awaitServing(certPEM []byte) {
	p.t.Helper()
	block, _ := pem.Decode(certPEM)
	want, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		p.t.Fatal(err)
	}
	deadline := time.Now().Add(90 * time.Second)
	for {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), p.client().Transport.(*http.Transport).TLSClientConfig)
		if err != nil {
			p.t.Fatal(err)
		}
		got := conn.ConnectionState().PeerCertificates[0]
		_ = conn.Close()
		if got.Equal(want) {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatal("the new serving certificate is not served")
		}
		time.Sleep(100 * time.Millisecond)
	}
}
