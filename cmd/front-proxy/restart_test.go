package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/standin"
)

// replica is one of several proxies at the same kcp, and what a client that
// honours readiness knows of it.
type replica struct {
	args   []string
	url    string
	ready  atomic.Bool
	client *http.Client
}

// watchReadiness asks for readiness until stopped, as load balancers do.
func (n *replica) watchReadiness(stopped <-chan struct{}) {
	for {
		resp, err := n.client.Get(n.url + "/readyz")
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		n.ready.Store(err == nil && resp.StatusCode == http.StatusOK)
		select {
		case <-stopped:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestRollingRestart: two instances, each restarted several times under load
// from clients that use what is ready. No request is lost.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	const restarts = 3
	i := newInstallation(t)
	issuer := newIssuer(t)
	var instances []*replica
	var running []*runningProxy
	for range 2 {
		args, url := arguments(t, i.kcp)
		n := &replica{url: url, args: append(args, "--shutdown-delay-duration=1s", "--shutdown-timeout=10s",
			"--authentication-config="+file(t, "authn.yaml", []byte(structured(issuer))))}
		p := startProxy(t, i.kcp, n.url, n.args)
		n.client = p.client()
		instances, running = append(instances, n), append(running, p)
	}
	token := issuer.Sign(issuertest.Claims{"sub": "dave", "aud": []string{"kcp"}, "exp": time.Now().Add(time.Hour).Unix()})
	stopped := make(chan struct{})
	var all sync.WaitGroup
	for n, one := range instances {
		running[n].await(one.client, "/clusters/root:far/api", token, http.StatusOK)
		one.ready.Store(true)
		all.Go(func() { one.watchReadiness(stopped) })
	}
	var asked atomic.Int64
	var mu sync.Mutex
	var lost []string
	for worker := range 8 {
		visitors := []visitor{
			{name: "token", path: "/clusters/root:far/api", token: token},
			{name: "certificate", path: "/clusters/root:team/api", certs: []tls.Certificate{i.users["alice"]}, http1: true},
		}
		v := visitors[worker%2]
		client := running[0].client(v.certs...)
		client.Transport.(*http.Transport).ForceAttemptHTTP2 = !v.http1
		all.Go(func() {
			for {
				select {
				case <-stopped:
					return
				default:
				}
				n := instances[rand.N(2)]
				if !n.ready.Load() {
					time.Sleep(time.Millisecond)
					continue
				}
				asked.Add(1)
				if err := once(client, n.url, v); err != nil {
					mu.Lock()
					lost = append(lost, fmt.Sprintf("%s: %v", v.name, err))
					mu.Unlock()
				}
			}
		})
	}
	for range restarts {
		for n, one := range instances {
			if err := running[n].stop(); err != nil {
				t.Errorf("an instance ended with %v", err)
			}
			running[n] = startProxy(t, i.kcp, one.url, one.args)
			deadline := time.Now().Add(20 * time.Second)
			for !one.ready.Load() {
				if time.Now().After(deadline) {
					t.Fatal("a restarted instance is not seen as ready")
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	close(stopped)
	all.Wait()
	if len(lost) > 0 || asked.Load() == 0 {
		t.Errorf("of %d requests %d were lost, the first: %q", asked.Load(), len(lost), append(lost, "")[0])
	}
	t.Logf("%d restarts, %d requests, %d lost", 2*restarts, asked.Load(), len(lost))
}

// TestDrainOfManyWatches: at SIGTERM every watch is ended as a complete answer, and
// the program ends without an error once the last is over, long before it would
// cut what is left. That they end evenly over the time there is, is
// proxy.TestDrainIsSpread's to say: on a busy machine the ends take longer.
func TestDrainOfManyWatches(t *testing.T) {
	t.Parallel()
	const watches, path = 2_000, "/clusters/root:far/api/v1/pods-of-many-watches"
	i := newInstallation(t)
	args, url := arguments(t, i.kcp)
	// No rates: many watches of one user are opened at once.
	p := startProxy(t, i.kcp, url, append(args, "--shutdown-timeout=5m", "--identity-requests-per-second=0", "--workspace-requests-per-second=0",
		"--token-auth-file="+file(t, "tokens.csv", []byte("token-of-frank,frank,,abc\n"))))
	ends := make(chan error, watches)
	for range watches / 100 { // streams a connection
		client := p.client()
		for range 100 {
			p.openWatch(client, path, "token-of-frank", func(err error) { ends <- err })
		}
	}
	select {
	case err := <-ends:
		t.Fatalf("a watch has ended before the drain: %v", err)
	default:
	}
	begin, at := time.Now(), written.size(t)
	if err := p.stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	took := time.Since(begin)
	broken := map[string]int{} // by error
	for range watches {
		if err := <-ends; err != nil {
			broken[err.Error()]++
		}
	}
	if len(broken) > 0 {
		t.Errorf("of %d watches broke off: %v", watches, broken)
	}
	ended := 0 // by what the proxy says
	for line := range bytes.Lines(written.since(t, at)) {
		if bytes.Contains(line, []byte(`"Request"`)) && bytes.Contains(line, []byte(path)) {
			ended++
		}
	}
	if ended != watches {
		t.Errorf("the log tells of the end of %d watches, want %d", ended, watches)
	}
	t.Logf("%d watches ended within %v", watches, took)
}

// TestStartsWithWhatThereIs: an instance that is started while an issuer and a
// shard are down serves the rest, says what is missing, and has it all once it
// is back.
func TestStartsWithWhatThereIs(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	up, down := newIssuer(t), newIssuer(t)
	down.SetDown(true)
	i.shard.Stop()
	args, url := arguments(t, i.kcp)
	p := startProxy(t, i.kcp, url, append(args, "--authentication-config="+file(t, "authn.yaml", []byte(structured(up, down))),
		"--token-auth-file="+file(t, "tokens.csv", []byte("token-of-prometheus,prometheus,1,"+standin.MetricsReader+"\n"))))
	token := func(s *issuertest.Issuer) string {
		return s.Sign(issuertest.Claims{"sub": "dave", "aud": []string{"kcp"}, "exp": time.Now().Add(time.Hour).Unix()})
	}
	p.await(p.client(), "/clusters/root:team/api", token(up), http.StatusOK)
	p.await(p.client(), "/clusters/root:team/api", token(down), http.StatusServiceUnavailable)
	p.await(p.client(), "/clusters/root:far/api", token(up), http.StatusServiceUnavailable)
	p.awaitMetric("token-of-prometheus", `front_proxy_shard_synced{shard="shard-1"} 0`)
	p.awaitMetric("token-of-prometheus", `front_proxy_shard_synced{shard="root"} 1`)

	down.SetDown(false)
	if err := i.shard.Start(); err != nil {
		t.Fatal(err)
	}
	visit := func(path string, s *issuertest.Issuer) {
		t.Helper()
		p.awaitVisitor(visitor{name: path, path: path, token: token(s)}, true)
	}
	visit("/clusters/root:far/api", up)
	visit("/clusters/root:team/api", down)
}

// TestStartsWithoutRoot: an instance that is started while root is down, and with
// it the list of shards, lives, is not ready, says why, and serves once root is
// back.
func TestStartsWithoutRoot(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	args, url := arguments(t, i.kcp)
	args = append(args, "--token-auth-file="+file(t, "tokens.csv", []byte("token-of-frank,frank,,abc\n")))
	i.kcp.Root.Stop()
	early := &runningProxy{t: t, kcp: i.kcp, url: url}
	client := early.client()
	found := make(chan error, 1)
	go func() {
		defer func() {
			if err := i.kcp.Root.Start(); err != nil {
				t.Errorf("start root: %v", err)
			}
		}()
		found <- func() error {
			deadline := time.Now().Add(20 * time.Second)
			for once(client, url, visitor{path: "/livez"}) != nil {
				if time.Now().After(deadline) {
					return errors.New("it does not live")
				}
				time.Sleep(10 * time.Millisecond)
			}
			for path, want := range map[string]string{"/readyz?verbose": "answered 500: [+]ping ok\n[+]shutdown ok\n[-]root ", "/clusters/root:far/api": "answered 503: "} {
				if err := once(client, url, visitor{path: path, token: "token-of-frank"}); err == nil || !strings.HasPrefix(err.Error(), want) {
					return fmt.Errorf("%s: %w, want %q", path, err, want)
				}
			}
			return nil
		}()
	}()
	p := startProxy(t, i.kcp, url, args)
	if err := <-found; err != nil {
		t.Error(err)
	}
	p.await(p.client(), "/clusters/root:far/api", "token-of-frank", http.StatusOK)
}

// TestFlappingShard: a shard that goes and comes again and again costs nobody
// else anything, its own requests are answered at once either way, and nothing
// of it is left behind: no goroutines, and with them no connections, and no
// memory. When the program has ended none of its goroutines is there.
func TestFlappingShard(t *testing.T) {
	const cycles, growth = 1000, 4 << 20
	ignore := goleak.IgnoreCurrent()
	i := newInstallation(t)
	args, url := arguments(t, i.kcp)
	p := startProxy(t, i.kcp, url, append(args, "--token-auth-file="+file(t, "tokens.csv", []byte("token-of-frank,frank,,abc\n"))))
	far := visitor{name: "far", path: "/clusters/root:far/api", token: "token-of-frank"}
	client := p.client()
	cycle := func() {
		t.Helper()
		i.shard.Stop()
		if code, _ := p.ask(client, far.path, far.token); code != http.StatusServiceUnavailable {
			t.Fatalf("a shard that is down is answered %d", code)
		}
		if err := i.shard.Start(); err != nil {
			t.Fatal(err)
		}
		if err := once(client, p.url, far); err != nil {
			t.Fatalf("a shard that is back: %v", err)
		}
	}
	load := p.load(visitor{name: "near", path: "/clusters/root:team/api", token: "token-of-frank"})
	for range 20 {
		cycle()
	}
	before, heapBefore := runtime.NumGoroutine(), heap()
	for range cycles {
		cycle()
	}
	load.passed(t, 100)
	load.none(t, "flapping of the other shard")
	after, deadline := runtime.NumGoroutine(), time.Now().Add(30*time.Second)
	for after > before+20 && time.Now().Before(deadline) {
		time.Sleep(100 * time.Millisecond)
		after = runtime.NumGoroutine()
	}
	if after > before+20 {
		t.Errorf("%d goroutines after %d cycles, %d before", after, cycles, before)
	}
	heapAfter := heap()
	if heapAfter > heapBefore+growth {
		t.Errorf("%d bytes live after %d cycles, %d before", heapAfter, cycles, heapBefore)
	}
	t.Logf("%d cycles, %d requests to the other shard, none lost; before and after %d and %d goroutines, %d and %d KB live",
		cycles, load.asked.Load(), before, after, heapBefore>>10, heapAfter>>10)

	load.end()
	if err := p.stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	i.kcp.Close()
	client.CloseIdleConnections()
	// klog's flusher is the process'; each file of certificates that apiserver reads
	// has queues that end with a way of following which is not used.
	queue := "k8s.io/client-go/util/workqueue.(*"
	goleak.VerifyNone(t, ignore, goleak.IgnoreAnyFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
		goleak.IgnoreAnyFunction(queue+"Typed[...]).updateUnfinishedWorkLoop"), goleak.IgnoreAnyFunction(queue+"delayingType[...]).waitingLoop"))
}

// heap is what is live of this process.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
