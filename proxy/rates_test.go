package proxy

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"

	"frontproxy/authn"
	"frontproxy/authn/clientcert"
	"frontproxy/index"
	"frontproxy/proxy/ratelimit"
)

// handClock goes on when a test says so.
type handClock struct{ passed atomic.Int64 }

var handClockStart = time.Now()

func (c *handClock) now() time.Time { return handClockStart.Add(time.Duration(c.passed.Load())) }

// byName admits whom the bearer token names, as a user of the logical cluster after a slash;
// without a token the request is passed through.
func byName(_ context.Context, r authn.Request) *authn.Decision {
	name, home, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "/")
	if name == "" {
		return &authn.Decision{PassThrough: true, Status: 200}
	}
	u := &user.DefaultInfo{Name: name, Extra: map[string][]string{}}
	if home != "" {
		u.Extra["authentication.kcp.io/cluster-name"] = []string{home}
	}
	return &authn.Decision{User: u, Status: 200, Authenticator: "token"}
}

// ratesWorld has two workspaces on one shard, and callers as byName says.
func ratesWorld(t testing.TB) (*world, *standIn, *handClock) {
	w, clock := newWorld(t), &handClock{}
	s := w.shard(t, "shard-1", true, nil)
	w.index["root:other"] = index.Target{Cluster: "9xyz", Shard: s.Shard}
	w.decide, w.config.Now = byName, clock.now
	w.mapping = "- path: /mapped/\n  backend: " + s.URL + "\n  backend_server_ca: DIR/ca.crt\n  proxy_client_cert: DIR/client.crt\n  proxy_client_key: DIR/client.key\n"
	return w, s, clock
}

// as sends a request with a token, and returns its answer.
func as(t testing.TB, c *http.Client, token, target string) (*http.Response, []byte) {
	t.Helper()
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	return do(t, c, http.MethodGet, target, header)
}

// TestRates: whom a request counts for, and what the one that is too many gets.
func TestRates(t *testing.T) {
	t.Parallel()
	workspaces := ratelimit.Config{Workspace: ratelimit.Rate{PerSecond: 0.5, Burst: 2}}
	identities := ratelimit.Config{Identity: ratelimit.Rate{PerSecond: 0.1, Burst: 2}}
	addresses := ratelimit.Config{Address: ratelimit.Rate{PerSecond: 10, Burst: 2}}
	const one, alias, other = "/clusters/root:ws/api", "/clusters/2kd9/api", "/clusters/root:other/api"
	type request struct{ token, path string }
	for _, tt := range []struct {
		name  string
		rates ratelimit.Config
		// first are sent twice each in turn, until the burst is used up.
		first []request
		// refused then is, with the message and the Retry-After; passes does not.
		refused []request
		message string
		retry   int32
		passes  []request
	}{
		{"a workspace", workspaces, []request{{"alice", one}}, []request{{"alice", one}, {"bob", one}, {"bob", alias}, {"bob", one + "?watch=true"}},
			"the workspace sends requests faster than it may; look for a client of it that loops; try again in 2 s", 2,
			[]request{{"alice", other}, {"", one}, {"account/9xyz", one}, {"alice", "/mapped/x"}}},
		{"callers whom nobody here authenticates", workspaces, []request{{"", one}}, []request{{"", one}},
			"the workspace sends requests faster than it may; look for a client of it that loops; try again in 2 s", 2,
			[]request{{"alice", one}, {"", other}}},
		{"a user", identities, []request{{"alice", one}}, []request{{"alice", one}, {"alice", alias}},
			"you send requests faster than one user may here; make the client send fewer; try again in 10 s", 10,
			[]request{{"bob", one}, {"alice", other}, {"alice/9xyz", one}, {"", one}, {"alice", "/mapped/x"}}},
		{"a user at a mapping without a cluster", identities, []request{{"alice", "/mapped/x"}}, []request{{"alice", "/mapped/y"}},
			"you send requests faster than one user may here; make the client send fewer; try again in 10 s", 10,
			[]request{{"bob", "/mapped/x"}, {"alice", one}, {"", "/mapped/x"}}},
		{"a user at a mapping with a cluster", identities, []request{{"alice", "/mapped/clusters/2kd9/x"}}, []request{{"alice", "/mapped/clusters/root:ws/x"}, {"alice", one}},
			"you send requests faster than one user may here; make the client send fewer; try again in 10 s", 10,
			[]request{{"alice", "/mapped/x"}}},
		{"a user at the proxy's own pages", identities, []request{{"alice", "/metrics"}}, []request{{"alice", "/metrics"}},
			"you send requests faster than one user may here; make the client send fewer; try again in 10 s", 10,
			[]request{{"alice", one}, {"bob", "/metrics"}}},
		{"an address", addresses, []request{{"alice", one}}, []request{{"alice", one}, {"bob", other}, {"", "/nowhere"}, {"", "/metrics"}},
			"your address sends requests faster than one address may; make its clients send fewer; try again in 1 s", 1,
			[]request{{"", "/readyz"}, {"", "/livez"}, {"", "/healthz"}}},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(tt.name+map[bool]string{false: ", HTTP/1.1", true: ", HTTP/2"}[http2], func(t *testing.T) {
				w, s, clock := ratesWorld(t)
				w.config.Rates.Config = tt.rates
				f := w.front(t)
				c := f.client(t, http2)
				for _, r := range tt.first {
					for range 2 {
						if resp, body := as(t, c, r.token, f.URL+r.path); resp.StatusCode == http.StatusTooManyRequests {
							t.Fatalf("%v within the burst: %s", r, body)
						}
					}
				}
				s.take()
				for _, r := range tt.refused {
					resp, body := as(t, c, r.token, f.URL+r.path)
					if resp.StatusCode != http.StatusTooManyRequests {
						t.Errorf("%v beyond the burst: %s", r, resp.Status)
						continue
					}
					got := status(t, body)
					if got.Message != tt.message || got.Reason != metav1.StatusReasonTooManyRequests || got.Details.RetryAfterSeconds != tt.retry || resp.Header.Get("Retry-After") != fmt.Sprint(tt.retry) {
						t.Errorf("%v: %+v, Retry-After %q", r, got, resp.Header.Get("Retry-After"))
					}
					if warning := resp.Header.Get("Warning"); !strings.Contains(warning, tt.message) {
						t.Errorf("%v: Warning %q", r, warning)
					}
				}
				if seen := s.take(); len(seen) > 0 {
					t.Errorf("the shard was asked: %+v", seen)
				}
				for _, r := range tt.passes {
					if resp, body := as(t, c, r.token, f.URL+r.path); resp.StatusCode == http.StatusTooManyRequests {
						t.Errorf("%v, which counts for another bucket: %s", r, body)
					}
				}
				clock.passed.Add(int64(tt.retry) * int64(time.Second))
				if resp, body := as(t, c, tt.refused[0].token, f.URL+tt.refused[0].path); resp.StatusCode == http.StatusTooManyRequests {
					t.Errorf("after the time that it was told: %s", body)
				}
			})
		}
	}
}

// TestTooFastRequestsAreHeldBack: the answer to a request that comes too fast is held back,
// unless its client leaves, or what is held back has no room for it.
func TestTooFastRequestsAreHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pauses{pause: time.Second}
		began := time.Now()
		hold := func(ctx context.Context, r *http.Request) time.Duration {
			p.wait(r.WithContext(ctx))
			return time.Since(began)
		}
		small := httptest.NewRequest(http.MethodGet, "/", nil)
		large := httptest.NewRequest(http.MethodGet, "/", nil)
		large.Header.Set("Authorization", strings.Repeat("x", maxPausedBytes))
		gone, leave := context.WithCancel(t.Context())
		leave()
		if after := hold(gone, small); after != 0 {
			t.Errorf("a client that is gone keeps its request for %v", after)
		}
		if after := hold(t.Context(), large); after != 0 {
			t.Errorf("a request beyond the bound is held back for %v", after)
		}
		var all sync.WaitGroup
		var held atomic.Int64
		for range 1000 {
			all.Go(func() {
				if hold(t.Context(), small) > 0 {
					held.Add(1)
				}
			})
		}
		synctest.Wait()
		if n := p.bytes.Load(); n > maxPausedBytes || n < maxPausedBytes-2*weightOf(small) {
			t.Errorf("%d bytes are held back, of %d", n, maxPausedBytes)
		}
		all.Wait()
		if after := time.Since(began); after != time.Second {
			t.Errorf("the last answer came after %v", after)
		}
		if want := maxPausedBytes / weightOf(small); held.Load() != want {
			t.Errorf("%d requests were held back, want %d", held.Load(), want)
		}
		if n := p.bytes.Load(); n != 0 {
			t.Errorf("%d bytes are left", n)
		}
	})
}

// TestPauseEndsWithTheClient: whoever may be refused at once is, by every bucket; a client that
// leaves takes its request along, and nobody else waits meanwhile.
func TestPauseEndsWithTheClient(t *testing.T) {
	one := ratelimit.Rate{PerSecond: 0.001, Burst: 1}
	for name, rates := range map[string]ratelimit.Config{"workspace": {Workspace: one}, "identity": {Identity: one}, "address": {Address: one}} {
		t.Run(name, func(t *testing.T) {
			w, _, _ := ratesWorld(t)
			w.config.Rates, w.config.MaxInFlight = RatesConfig{Config: rates, Pause: time.Hour}, mayRun
			f := w.front(t)
			c := f.client(t, true)
			target := f.URL + "/clusters/root:ws/api"
			if resp, body := as(t, c, "alice", target); resp.StatusCode != http.StatusOK {
				t.Fatalf("the request that passes: %s", body)
			}
			ctx, leave := context.WithCancel(t.Context())
			refused := make(chan error, 1)
			go func() {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
				if err == nil {
					r.Header.Set("Authorization", "Bearer alice")
					_, err = c.Do(r) //nolint:bodyclose // it fails
				}
				refused <- err
			}()
			until(t, "the request is held back", func() bool { return f.rates.pauses.bytes.Load() > 0 })
			until(t, "its address has all its room for others", func() bool { return f.limit.requests.used.Load() == 0 })
			if resp, _ := do(t, c, http.MethodGet, f.URL+"/livez", nil); resp.StatusCode != http.StatusOK {
				t.Errorf("somebody else meanwhile: %s", resp.Status)
			}
			leave()
			if err := <-refused; !errors.Is(err, context.Canceled) {
				t.Errorf("the request that is held back ends with %v", err)
			}
			until(t, "nothing is held back", func() bool { return f.rates.pauses.bytes.Load() == 0 })
		})
	}
}

// TestRatesDryRun: what is too fast is served, and counted and logged as often as it is refused
// otherwise.
func TestRatesDryRun(t *testing.T) {
	for _, dryRun := range []bool{true, false} {
		t.Run(fmt.Sprint(dryRun), func(t *testing.T) {
			w, _, _ := ratesWorld(t)
			w.config.Rates = RatesConfig{DryRun: dryRun, Config: ratelimit.Config{
				Workspace: ratelimit.Rate{PerSecond: 0.001, Burst: 8}, Identity: ratelimit.Rate{PerSecond: 0.001, Burst: 6}, Address: ratelimit.Rate{PerSecond: 0.001, Burst: 20},
			}}
			var mu sync.Mutex
			var lines []string
			w.config.Log = funcr.New(func(_, line string) {
				mu.Lock()
				defer mu.Unlock()
				lines = append(lines, line)
			}, funcr.Options{})
			f := w.front(t)
			c := f.client(t, true)
			refused := 0
			for n := range 25 {
				user := "alice" // 6 pass as hers; of the workspace's 2 that are left bob has them
				if n >= 10 {
					user = "bob-" + strings.Repeat("x", 1000)
				}
				if resp, _ := as(t, c, user, f.URL+"/clusters/root:ws/api"); resp.StatusCode == http.StatusTooManyRequests {
					refused++
				}
			}
			if want := map[bool]int{true: 0, false: 17}[dryRun]; refused != want {
				t.Errorf("%d are refused, want %d", refused, want)
			}
			const metric = "front_proxy_rate_limited_requests_total"
			counted := func(bucket string, dry bool, n int) string {
				return fmt.Sprintf("%s{bucket=%q,dry_run=%q} %d", metric, bucket, fmt.Sprint(dry), n)
			}
			// In a dry run the requests that the address has no token for go on to the others.
			workspace := map[bool]int{true: 13, false: 8}[dryRun]
			var want []string
			for _, b := range []struct {
				name string
				n    int
			}{{"address", 5}, {"identity", 4}, {"workspace", workspace}} {
				n := [2]int{b.n, 0}
				if dryRun {
					n = [2]int{0, b.n}
				}
				want = append(want, counted(b.name, false, n[0]), counted(b.name, true, n[1]))
			}
			shows(t, f.config.Metrics, metric, want...)
			mu.Lock()
			defer mu.Unlock()
			var of []string
			for _, line := range lines {
				if !strings.Contains(line, "faster than their rate allows") {
					continue
				}
				for _, bucket := range []string{"identity", "workspace", "address"} {
					if strings.Contains(line, `"bucket"="`+bucket+`"`) {
						of = append(of, bucket)
					}
				}
				if strings.Contains(line, strings.Repeat("x", 300)) || !strings.Contains(line, fmt.Sprintf(`"dryRun"=%v`, dryRun)) || strings.Contains(line, "Bearer") {
					t.Errorf("logged %s", line)
				}
			}
			if diff := cmp.Diff([]string{"identity", "workspace", "address"}, of); diff != "" {
				t.Errorf("one line for each bucket (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRatesExempt: health checks, shards and certificates with system:masters meet no limit,
// not even if the group is dropped; whoever says so otherwise does.
func TestRatesExempt(t *testing.T) {
	w, _, _ := ratesWorld(t)
	cas, err := dynamiccertificates.NewStaticCAContent("clients", w.clients.PEM)
	if err != nil {
		t.Fatal(err)
	}
	decider, err := authn.New(authn.Config{ClientCAs: cas, DropGroups: []string{"system:masters"}, ShardClients: []clientcert.ShardClient{{CommonName: "shard", Shard: "shard-1"}}})
	if err != nil {
		t.Fatal(err)
	}
	w.decide = decider.Decide
	w.config.Server.Serving = &genericapiserver.SecureServingInfo{ClientCA: cas}
	one := ratelimit.Rate{PerSecond: 0.001, Burst: 1}
	w.config.Rates = RatesConfig{Config: ratelimit.Config{Workspace: one, Identity: one, Address: one}, Infrastructure: decider.Infrastructure}
	f := w.front(t)
	target := f.URL + "/clusters/root:ws/api"
	if resp, _ := as(t, f.client(t, true), "", target); resp.StatusCode != 200 {
		t.Fatalf("the one request that passes: %s", resp.Status)
	}
	for _, tt := range []struct {
		name   string
		cert   *tls.Certificate
		target string
		want   int
	}{
		{"an administrator whose group is dropped", ptr(w.clients.Pair(t, "admin", "system:masters")), target, 200},
		{"a shard", ptr(w.clients.Pair(t, "shard")), target, 200},
		{"a user", ptr(w.clients.Pair(t, "alice", "developers")), target, 429},
		{"a stranger's system:masters", ptr(w.serving.Pair(t, "admin", "system:masters")), target, 429},
		{"a stranger's shard", ptr(w.serving.Pair(t, "shard")), target, 429},
		{"nobody", nil, target, 429},
		{"a health check", nil, f.URL + "/livez", 200},
		{"a check of readiness", nil, f.URL + "/readyz/ping", 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := f.client(t, true)
			if tt.cert != nil {
				c.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tt.cert, nil }
			}
			for range 5 {
				if resp, body := as(t, c, "", tt.target); resp.StatusCode != tt.want {
					t.Fatalf("%s %s, want %d", resp.Status, body, tt.want)
				}
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

// TestRatesOfClientsBehindABalancer: each client has its own bucket, a /64 one, and the
// balancer's own address none of theirs.
func TestRatesOfClientsBehindABalancer(t *testing.T) {
	w, _, _ := ratesWorld(t)
	w.config.Server.Balancers = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	w.config.Rates.Config = ratelimit.Config{Address: ratelimit.Rate{PerSecond: 0.001, Burst: 2}}
	f := w.front(t)
	for _, tt := range []struct {
		client string
		want   []int
	}{
		{"192.0.2.1:1000", []int{200, 200, 429}},
		{"192.0.2.1:2000", []int{429}},
		{"192.0.2.2:1000", []int{200, 200, 429}},
		{"[2001:db8::1]:1", []int{200, 200, 429}},
		{"[2001:db8::ffff:1]:1", []int{429}},
		{"[2001:db8:0:1::1]:1", []int{200, 200, 429}},
		{"", []int{200, 200, 429}}, // the balancer itself
	} {
		c := f.behindBalancer(t, tt.client)
		var got []int
		for range tt.want {
			resp, _ := as(t, c, "alice", f.URL+"/clusters/root:ws/api")
			got = append(got, resp.StatusCode)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.client, diff)
		}
	}
}

// TestStartingInformersMeetNoLimit: the start of a controller with informers for 300 kinds, which asks for
// all at once, three times over, meets no limit, though no time goes by.
func TestStartingInformersMeetNoLimit(t *testing.T) {
	t.Parallel()
	const kinds = 300
	w := newWorld(t)
	s := w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Has("sendInitialEvents") { // which older shards do not know: informers list instead
			rw.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(rw, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
			return
		}
		if r.URL.Query().Get("watch") != "" {
			_ = http.NewResponseController(rw).Flush()
			<-r.Context().Done()
			return
		}
		resource := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		_, _ = fmt.Fprintf(rw, `{"kind":"%sList","apiVersion":"example.io/v1","metadata":{"resourceVersion":"1"},"items":[]}`, resource)
	})
	clock := &handClock{}
	w.decide, w.config.Now = byName, clock.now
	w.config.Rates.Config = ratelimit.Config{Workspace: ratelimit.DefaultWorkspace, Identity: ratelimit.DefaultIdentity}
	f := w.front(t)
	rounds := 3 // it crashes when it has begun, and begins again
	if testing.Short() {
		rounds = 1
	}
	for round := range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		client, err := dynamic.NewForConfig(f.rest("controller", -1))
		if err != nil {
			t.Fatal(err)
		}
		factory := dynamicinformer.NewDynamicSharedInformerFactory(client, 0)
		for n := range kinds {
			factory.ForResource(schema.GroupVersionResource{Group: "example.io", Version: "v1", Resource: fmt.Sprint("kind", n)}).Informer()
		}
		factory.Start(ctx.Done())
		waiting, done := context.WithTimeout(ctx, stuck)
		for kind, synced := range factory.WaitForCacheSync(waiting.Done()) {
			if !synced {
				t.Errorf("round %d: %s is not synced", round, kind.Resource)
			}
		}
		discovery := f.client(t, true)
		for range 100 { // which kubectl and helm do
			if resp, _ := as(t, discovery, "controller", f.URL+"/clusters/root:ws/apis/example.io/v1/discovery"); resp.StatusCode != 200 {
				t.Fatal(resp.Status)
			}
		}
		done()
		cancel()
		factory.Shutdown()
		t.Logf("round %d: %d requests", round, len(s.take()))
	}
	for _, line := range metricLines(t, f.config.Metrics, "front_proxy_rate_limited_requests_total") {
		if !strings.HasSuffix(line, " 0") {
			t.Errorf("the start meets a limit: %s", line)
		}
	}
}

// rest is client-go's configuration to reach root:ws with a token. qps is client-go's own
// limit; negative means none.
func (f *front) rest(token string, qps float32) *rest.Config {
	return &rest.Config{Host: f.URL + "/clusters/root:ws", BearerToken: token, QPS: qps, Transport: nil,
		TLSClientConfig: rest.TLSClientConfig{Insecure: true}} // the test's own server
}

// TestClientGoRetriesAfter429: client-go comes back after a 429 when it is told to, and its caller notices
// nothing.
func TestClientGoRetriesAfter429(t *testing.T) {
	t.Parallel()
	w, s, _ := ratesWorld(t)
	s.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x"}}`)
	})
	w.config.Now = time.Now
	w.config.Rates.Config = ratelimit.Config{Identity: ratelimit.Rate{PerSecond: 2, Burst: 2}}
	f := w.front(t)
	client, err := dynamic.NewForConfig(f.rest("alice", -1))
	if err != nil {
		t.Fatal(err)
	}
	maps := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace("default")
	for range 4 {
		if _, err := maps.Get(t.Context(), "x", metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	lines := metricLines(t, f.config.Metrics, `front_proxy_rate_limited_requests_total{bucket="identity",dry_run="false"}`)
	if len(lines) != 1 || strings.HasSuffix(lines[0], " 0") {
		t.Errorf("none of the requests was refused at first: %v", lines)
	}
}

// TestRefusedBodies: a request with a body that is refused gets its answer, and over HTTP/1.1
// the connection ends, for the body is not read.
func TestRefusedBodies(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		w, s, _ := ratesWorld(t)
		w.config.Rates.Config = ratelimit.Config{Identity: ratelimit.Rate{PerSecond: 0.001, Burst: 1}}
		f := w.front(t)
		c := f.client(t, http2)
		for n, want := range []int{200, 429, 429} {
			r, err := http.NewRequest(http.MethodPost, f.URL+"/clusters/root:ws/api", strings.NewReader(strings.Repeat("x", 1<<20)))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer alice")
			resp, err := c.Do(r)
			if err != nil {
				t.Fatalf("HTTP/2 %v, request %d: %v", http2, n, err)
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("HTTP/2 %v, request %d: %s %s, want %d", http2, n, resp.Status, body, want)
			}
			var st metav1.Status
			if want == 429 && (json.Unmarshal(body, &st) != nil || st.Code != 429) {
				t.Errorf("HTTP/2 %v, request %d: %s", http2, n, body)
			}
		}
		if seen := s.take(); len(seen) != 1 {
			t.Errorf("the shard was asked %d times", len(seen))
		}
		f.idle(t)
	}
}
