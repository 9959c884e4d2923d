package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/standin"
)

const (
	hostileTypes   = 12
	hostileWorkers = 12
	neighboursAsks = 150
	// slowerAtMost is how much slower the neighbour may get, in its median and in
	// its slowest twentieth. Whoever waits for a place, a fetch or a build of the
	// hostile tenant waits seconds, hundreds of times its median.
	slowerAtMost = 15
)

// TestHostileTenant: one tenant does everything at once that a tenant can do to
// be a burden. Its neighbour's valid tokens are all accepted meanwhile, and
// about as fast as when the same clients are busy with something harmless.
func TestHostileTenant(t *testing.T) {
	k := newKCP(t)
	n := newNeighbour(t, k)
	h := newHostile(t, k)
	args, url := arguments(t, k)
	p := startProxy(t, k, url, append(args, "--feature-gates=WorkspaceAuthentication=true"))
	n.await(p)
	h.await(p)

	before := n.beside(p, func(ctx context.Context, worker int) { h.polite(ctx, p, worker) })
	h.burden()
	stop := h.churn(t)
	during := n.beside(p, func(ctx context.Context, worker int) { h.hostile(ctx, p, worker) })
	// Whoever is starved is so each time; whoever shares a machine with others
	// is so now and then.
	for again := 0; again < 2 && tooSlow(before, during); again++ {
		t.Logf("once more: beside a polite tenant %v, beside a hostile one %v", before, during)
		during = n.beside(p, func(ctx context.Context, worker int) { h.hostile(ctx, p, worker) })
	}
	n.another(k, p)
	stop()

	t.Logf("neighbour's latency beside a polite tenant: %v; beside a hostile one: %v", before, during)
	for q := range before {
		if during[q] > slowerAtMost*before[q] {
			t.Errorf("at quantile %s the neighbour waits %v, %.1f times as long as before; at most %d times is in order",
				quantiles[q].name, during[q], float64(during[q])/float64(before[q]), slowerAtMost)
		}
	}
	t.Logf("the hostile tenant's answers by code: %v", h.codes())
	if h.answered[http.StatusOK].Load() == 0 || h.answered[http.StatusUnauthorized].Load() == 0 || h.answered[http.StatusServiceUnavailable].Load() == 0 {
		t.Errorf("the hostile tenant's answers by code are %v, want some of 200, 401 and 503: else it did not do what it should", h.codes())
	}
	// It is not shut out either: its own sound configuration still works.
	p.await(p.client(), h.path("sound"), h.sound.Sign(issuertest.Claims{"sub": "mallory", "aud": "ws"}), http.StatusOK)
}

func tooSlow(before, during []time.Duration) bool {
	for q := range before {
		if during[q] > slowerAtMost*before[q] {
			return true
		}
	}
	return false
}

var quantiles = []struct {
	name string
	at   float64
}{{"0.5", 0.5}, {"0.95", 0.95}}

// neighbour asks steadily, with many different good tokens.
type neighbour struct {
	t      *testing.T
	issuer *issuertest.Issuer
	tokens []string
}

const neighboursPath = "/clusters/root:neighbour:ws/api"

func newNeighbour(t *testing.T, k *standin.KCP) *neighbour {
	n := &neighbour{t: t, issuer: newIssuer(t)}
	k.Root.PutWorkspace("root", "neighbour", "neighbour0000001", "root", "universal", nil)
	k.Root.PutCluster("neighbour0000001", "root:universal", nil)
	jwt := trusting(n.issuer)
	jwt["claimMappings"].(standin.Object)["username"] = standin.Object{"expression": "'n:' + claims.sub"}
	k.Root.PutConfiguration("neighbour0000001", "issuer", jwt)
	k.Root.PutType("neighbour0000001", "team", "issuer")
	k.Root.PutWorkspace("neighbour0000001", "ws", "neighbour0000002", "root:neighbour", "team", nil)
	k.Root.PutCluster("neighbour0000002", "root:neighbour:team", nil)
	for i := range neighboursAsks / 3 {
		n.tokens = append(n.tokens, n.issuer.Sign(issuertest.Claims{"sub": "alice", "aud": "ws", "jti": fmt.Sprint(i)}, issuertest.Algorithm(jose.ES256)))
	}
	return n
}

func (n *neighbour) await(p *runningProxy) {
	p.await(p.client(), neighboursPath, n.tokens[0], http.StatusOK)
}

// another configuration is built meanwhile, and its users are admitted.
func (n *neighbour) another(k *standin.KCP, p *runningProxy) {
	n.t.Helper()
	issuer := newIssuer(n.t)
	jwt := trusting(issuer)
	jwt["claimMappings"].(standin.Object)["username"] = standin.Object{"expression": "'another:' + claims.sub"}
	k.Root.PutConfiguration("neighbour0000001", "another", jwt)
	k.Root.PutType("neighbour0000001", "team", "issuer", "another")
	p.await(p.client(), neighboursPath, issuer.Sign(issuertest.Claims{"sub": "bob", "aud": "ws"}), http.StatusOK)
}

// beside asks while f runs in every worker, and returns the quantiles of how
// long the answers took.
func (n *neighbour) beside(p *runningProxy, f func(ctx context.Context, worker int)) []time.Duration {
	n.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	for w := range hostileWorkers {
		workers.Go(func() {
			for ctx.Err() == nil {
				f(ctx, w)
			}
		})
	}
	defer workers.Wait()
	defer stop()
	client := p.client()
	var took []time.Duration
	for i := range neighboursAsks {
		begin := time.Now()
		code, me := p.ask(client, neighboursPath, n.tokens[i%len(n.tokens)])
		took = append(took, time.Since(begin))
		if code != http.StatusOK || me.User != "n:alice" {
			n.t.Errorf("the neighbour's request %d is answered %d as %q", i, code, me.User)
		}
	}
	slices.Sort(took)
	var at []time.Duration
	for _, q := range quantiles {
		at = append(at, took[int(float64(len(took))*q.at)])
	}
	return at
}

// hostile is the tenant root:hostile: types of every bad kind, and a sound one.
type hostile struct {
	k                                *standin.KCP
	sound, costly, crowded, slow, at *issuertest.Issuer
	dead                             string // an issuer URL where nobody listens
	kinds                            []func(i int) (path, token string)
	answered                         [600]atomic.Int64
	count                            atomic.Int64
	clients                          []*http.Client
}

const hostileCluster = "hostile000000001"

func (h *hostile) path(kind string) string { return "/clusters/root:hostile:" + kind + "/api" }

// costlyExpression computes until it is stopped.
const costlyExpression = "dyn(claims.l).all(a, dyn(claims.l).all(b, dyn(claims.l).all(c, dyn(claims.l).all(d, a + b + c + d == 0.0)))) ? 'x' : 'y'"

// doublingExpression is of 400 bytes and asks for a list of ten billion elements.
func doublingExpression() string {
	x := "claims.l"
	for range 4 {
		x = "[" + x + "].map(a, a" + strings.Repeat("+a", 39) + ")[0]"
	}
	return x
}

func newHostile(t *testing.T, k *standin.KCP) *hostile {
	h := &hostile{k: k, sound: newIssuer(t), costly: newIssuer(t), crowded: newIssuer(t), slow: newIssuer(t), at: newIssuer(t), dead: newDoor(t).url}
	for len(h.clients) < hostileWorkers {
		h.clients = append(h.clients, nil)
	}
	for range 99 {
		h.crowded.AddKeys(bigKey(t))
	}
	h.slow.SetDelay(time.Hour)
	h.at.Handle(issuertest.KeysPath, func(w http.ResponseWriter, _ *http.Request) {
		for chunk := []byte(strings.Repeat(" ", 1<<16)); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	k.Root.PutWorkspace("root", "hostile", hostileCluster, "root", "universal", nil)
	k.Root.PutCluster(hostileCluster, "root:universal", nil)
	h.put("sound", "sound", trusting(h.sound))
	h.put("crowded", "crowded", trusting(h.crowded))
	h.put("costly", "costly", h.costlyEntry())
	doubling := trusting(h.sound)
	doubling["claimMappings"].(standin.Object)["groups"] = standin.Object{"expression": doublingExpression()}
	h.put("doubling", "doubling", doubling)
	h.kinds = h.tokens()
	return h
}

// burden adds what keeps the tenant's own fetches busy; that is why it comes
// when its sound issuers have been read.
func (h *hostile) burden() {
	h.put("slow", "slow", trusting(h.slow))
	h.put("endless", "endless", trusting(h.at))
	for i := range hostileTypes {
		var names []string
		for j := range 16 { // each with an issuer of its own that is dead, or slow
			name := fmt.Sprintf("bulk-%d-%d", i, j)
			jwt := trusting(h.slow)
			jwt["issuer"].(standin.Object)["url"] = fmt.Sprintf("%s/%d/%d", []string{h.dead, h.slow.URL()}[j%2], i, j)
			h.k.Root.PutConfiguration(hostileCluster, name, jwt)
			names = append(names, name)
		}
		h.k.Root.PutConfiguration(hostileCluster, fmt.Sprint("costly-", i), h.costlyEntry())
		h.putType(fmt.Sprint("bulk-", i), append(names[:15:15], fmt.Sprint("costly-", i))...)
	}
}

// bulky is a configuration that takes seconds to compile: each expression is as
// long as is taken, and different each time.
func (h *hostile) bulky(i int) standin.Object {
	var rules []standin.Object
	for r := range 14 {
		rules = append(rules, standin.Object{"expression": strings.Repeat("claims.a==1&&", 615) + fmt.Sprintf("%d!=%d", i, r)})
	}
	jwt := trusting(h.slow)
	jwt["claimValidationRules"] = rules
	return jwt
}

func (h *hostile) costlyEntry() standin.Object {
	jwt := trusting(h.costly)
	jwt["claimMappings"].(standin.Object)["username"] = standin.Object{"expression": costlyExpression}
	return jwt
}

func (h *hostile) put(name, config string, jwt standin.Object) {
	h.k.Root.PutConfiguration(hostileCluster, config, jwt)
	h.putType(name, config)
}

func (h *hostile) putType(name string, configs ...string) {
	h.k.Root.PutType(hostileCluster, name, configs...)
	cluster := "hostile" + fmt.Sprintf("%09d", h.count.Add(1)+1)
	h.k.Root.PutWorkspace(hostileCluster, name, cluster, "root:hostile", name, nil)
	h.k.Root.PutCluster(cluster, "root:hostile:"+name, nil)
}

// bigKey is an RSA key as large as is taken, or what looks like one.
func bigKey(t *testing.T) string {
	n := make([]byte, 1024)
	if _, err := rand.Read(n); err != nil {
		t.Fatal(err)
	}
	n[0], n[1023] = n[0]|0x80, n[1023]|1
	key, err := json.Marshal(map[string]string{"kty": "RSA", "e": "f____w", "n": base64.RawURLEncoding.EncodeToString(n)})
	if err != nil {
		t.Fatal(err)
	}
	return string(key)
}

// tokens are the kinds of requests that it sends, each with tokens never seen
// before.
func (h *hostile) tokens() []func(i int) (path, token string) {
	claims := func(i int) issuertest.Claims {
		return issuertest.Claims{"sub": "mallory", "aud": "ws", "jti": fmt.Sprint(i), "l": make([]int, 100)}
	}
	es := issuertest.Algorithm(jose.ES256)
	return []func(i int) (string, string){
		func(i int) (string, string) { return h.path("costly"), h.costly.Sign(claims(i), es) },
		func(i int) (string, string) {
			return h.path(fmt.Sprint("bulk-", i%hostileTypes)), h.costly.Sign(claims(i), es)
		},
		func(i int) (string, string) {
			return h.path("sound"), h.sound.Sign(claims(i), es, issuertest.KeyID(fmt.Sprint("unknown-", i)))
		},
		func(i int) (string, string) {
			return h.path("crowded"), h.sound.Sign(issuertest.Claims{"iss": h.crowded.URL(), "sub": "mallory", "aud": "ws", "jti": fmt.Sprint(i)}, issuertest.NoKeyID())
		},
		func(i int) (string, string) { return h.path("slow"), h.slow.Sign(claims(i), es) },
		func(i int) (string, string) { return h.path("endless"), h.at.Sign(claims(i), es) },
		func(i int) (string, string) {
			c := claims(i)
			c["iss"] = fmt.Sprintf("%s/%d/%d", h.dead, i%hostileTypes, 0)
			return h.path(fmt.Sprint("bulk-", i%hostileTypes)), h.sound.Sign(c, es)
		},
		func(i int) (string, string) {
			return h.path("sound"), h.sound.Sign(claims(i), es, issuertest.KeyOf(h.slow))
		},
		func(i int) (string, string) {
			c := claims(i)
			c["pad"] = strings.Repeat("x", 11<<10)
			return h.path("sound"), h.sound.Sign(c, es)
		},
		func(i int) (string, string) {
			c := claims(i)
			c["l"] = make([]string, 3900)
			return h.path("doubling"), h.sound.Sign(c, es)
		},
		func(i int) (string, string) { return neighboursPath, h.sound.Sign(claims(i), es) },
	}
}

func (h *hostile) await(p *runningProxy) {
	client := p.client()
	for worker := range h.clients {
		h.clients[worker] = p.client()
		h.clients[worker].Timeout = 2 * time.Second
	}
	p.await(client, h.path("sound"), h.sound.Sign(issuertest.Claims{"sub": "mallory", "aud": "ws"}), http.StatusOK)
}

// polite asks with good tokens never seen before.
func (h *hostile) polite(ctx context.Context, p *runningProxy, worker int) {
	i := int(h.count.Add(1))
	h.send(ctx, p, worker, h.path("sound"), h.sound.Sign(issuertest.Claims{"sub": "mallory", "aud": "ws", "jti": fmt.Sprint(i)}, issuertest.Algorithm(jose.ES256)))
}

func (h *hostile) hostile(ctx context.Context, p *runningProxy, worker int) {
	i := int(h.count.Add(1))
	path, token := h.kinds[i%len(h.kinds)](i / len(h.kinds))
	h.send(ctx, p, worker, path, token)
}

// send counts the answer; that there is none is its own fault.
func (h *hostile) send(ctx context.Context, p *runningProxy, worker int, path, token string) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		panic(err) // a fixed method and URL
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := h.clients[worker].Do(r)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	h.answered[resp.StatusCode].Add(1)
}

func (h *hostile) codes() map[int]int64 {
	codes := map[int]int64{}
	for code := range h.answered {
		if n := h.answered[code].Load(); n > 0 {
			codes[code] = n
		}
	}
	return codes
}

// churn changes configurations as fast as one connection to a shard could,
// each so that it must be built anew.
func (h *hostile) churn(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if i%20 == 0 {
				h.k.Root.PutConfiguration(hostileCluster, fmt.Sprintf("bulk-%d-%d", i%hostileTypes, i/hostileTypes%15), h.bulky(i))
				continue
			}
			var rules []standin.Object
			for r := range 31 {
				rules = append(rules, standin.Object{"expression": fmt.Sprintf("claims.sub != '%d-%d' || claims.aud == 'ws'", i, r)})
			}
			jwt := trusting(h.slow)
			jwt["claimMappings"].(standin.Object)["username"] = standin.Object{"expression": "claims.sub"}
			jwt["claimValidationRules"] = rules
			h.k.Root.PutConfiguration(hostileCluster, fmt.Sprintf("bulk-%d-%d", i%hostileTypes, i/hostileTypes%15), jwt)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); done.Wait() })
	t.Cleanup(stop)
	return stop
}
