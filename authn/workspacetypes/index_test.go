package workspacetypes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/internal/authntest"
	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/internal/typestest"
	"frontproxy/authn/issuer"
	"frontproxy/authn/issuer/issuertest"
	"frontproxy/authn/jwt"
	"frontproxy/authn/token"
	"frontproxy/index"
	"frontproxy/internal/polltest"
)

// typeWorld is a Index under test, fed through its Watches.
type typeWorld struct {
	*typestest.World
	t         testing.TB
	index     *Index
	pool      *issuer.Pool
	placement *typestest.Placement
}

func newTypeWorld(t testing.TB, c Config, shardNames ...string) *typeWorld {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	w := &typeWorld{t: t, placement: &typestest.Placement{Of: map[string]string{"c1": "root"}}}
	w.pool = tokentest.RunPool(t, issuer.Config{Clock: c.Clock})
	if gated, ok := c.Issuers.(*gatedIssuers); ok {
		gated.Issuers = w.pool
	} else {
		c.Issuers = w.pool
	}
	c.Placement = w.placement
	w.index = New(c)
	w.World = typestest.New(t, w.index.Watches(), append([]string{"root"}, shardNames...)...)
	tokentest.Background(t, w.index.Run)
	return w
}

// synced lists nothing on every shard.
func (w *typeWorld) synced() *typeWorld {
	w.Sync()
	return w
}

// ask is what the type in cluster makes of a token: the members' best outcome,
// and tokentest.Undecided too when a configuration is missing and nobody accepts.
func (w *typeWorld) ask(cluster, name, raw string) (tokentest.Outcome, string) {
	w.t.Helper()
	published, err := w.index.Authenticators(index.Type{Cluster: cluster, Name: name})
	if err != nil {
		return tokentest.OutcomeOf(nil, err), err.Error()
	}
	if published == nil {
		return tokentest.Skipped, "the type names no configuration"
	}
	token, out, reasons := token.Parse(raw), tokentest.Skipped, slices.Clone(published.Undecided)
	if len(published.Undecided) > 0 {
		out = tokentest.Undecided
	}
	for _, m := range published.ByIssuer[token.Issuer] {
		u, _, err := m.AuthenticateToken(context.Background(), token)
		o := tokentest.OutcomeOf(u, err)
		if o == tokentest.Accepted {
			return tokentest.Accepted, m.Name()
		}
		if err != nil {
			reasons = append(reasons, err.Error())
		}
		out = max(out, o)
	}
	return out, strings.Join(reasons, "; ")
}

// want waits until a token of s meets the outcome.
func (w *typeWorld) want(what string, outcome tokentest.Outcome, name string, s *issuertest.Issuer) string {
	w.t.Helper()
	return w.wantAt(what, outcome, "c1", name, s)
}

func (w *typeWorld) wantAt(what string, outcome tokentest.Outcome, cluster, name string, s *issuertest.Issuer) string {
	w.t.Helper()
	var reason string
	polltest.UntilState(w.t, what, func() (ok bool, state string) {
		var got tokentest.Outcome
		got, reason = w.ask(cluster, name, s.Sign(issuertest.Claims{"sub": "alice", "aud": "app"}))
		return got == outcome, fmt.Sprintf("outcome %s (%s), want %s", got, reason, outcome)
	})
	return reason
}

func TestTypeIndexOrders(t *testing.T) {
	a, b := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	t.Run("type first", func(t *testing.T) {
		w := newTypeWorld(t, Config{}).synced()
		w.SetType("root", "c1", "team", "github")
		if reason := w.want("missing", tokentest.Undecided, "team", a); !strings.Contains(reason, "github does not exist") {
			t.Errorf("reason %q", reason)
		}
		w.SetConfig("root", "c1", "github", tokentest.SpecFor(a))
		w.want("there", tokentest.Accepted, "team", a)
	})
	t.Run("configuration first", func(t *testing.T) {
		w := newTypeWorld(t, Config{}).synced()
		w.SetConfig("root", "c1", "github", tokentest.SpecFor(a))
		if diff := cmp.Diff(0, len(w.pool.Status())); diff != "" {
			t.Errorf("issuers for a configuration nobody names (-want +got):\n%s", diff)
		}
		w.SetType("root", "c1", "team", "github")
		w.want("there", tokentest.Accepted, "team", a)
	})
	t.Run("two configurations", func(t *testing.T) {
		w := newTypeWorld(t, Config{}).synced()
		w.SetType("root", "c1", "team", "x", "y", "x")
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a))
		w.SetConfig("root", "c1", "y", tokentest.SpecFor(b))
		w.want("first", tokentest.Accepted, "team", a)
		w.want("second", tokentest.Accepted, "team", b)
	})
	t.Run("edits", func(t *testing.T) {
		w := newTypeWorld(t, Config{}).synced()
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a))
		w.SetConfig("root", "c1", "y", tokentest.SpecFor(b))
		w.SetType("root", "c1", "team", "x")
		w.SetType("root", "c1", "other", "y")
		w.want("x", tokentest.Accepted, "team", a)
		w.want("not y", tokentest.Skipped, "team", b)
		w.want("y", tokentest.Accepted, "other", b)
		w.SetType("root", "c1", "team", "y")
		w.want("now y", tokentest.Accepted, "team", b)
		w.want("no longer x", tokentest.Skipped, "team", a)
		w.SetType("root", "c1", "team")
		w.want("nothing", tokentest.Skipped, "team", b)
		w.want("the other stays", tokentest.Accepted, "other", b)
		w.Tables["root"][typestest.ConfigsResource].Delete(w.Decode(typestest.ConfigsResource, "c1", "y", "{}"))
		w.want("gone", tokentest.Undecided, "other", b)
		w.Tables["root"][typestest.TypesResource].Delete(w.TypeOf("c1", "other"))
		w.want("type gone", tokentest.Skipped, "other", b)
		if diff := cmp.Diff(0, len(w.pool.Status())); diff != "" {
			t.Errorf("issuers left (-want +got):\n%s", diff)
		}
	})
	t.Run("another cluster's objects are nothing to it", func(t *testing.T) {
		w := newTypeWorld(t, Config{}).synced()
		w.placement.Move("c2", "root")
		w.SetType("root", "c1", "team", "x")
		w.SetConfig("root", "c2", "x", tokentest.SpecFor(b))
		w.SetType("root", "c2", "team", "x")
		w.wantAt("its own", tokentest.Accepted, "c2", "team", b)
		w.want("not c1's", tokentest.Undecided, "team", b)
	})
	t.Run("relist drops what is gone", func(t *testing.T) {
		w := newTypeWorld(t, Config{}).synced()
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a))
		w.SetType("root", "c1", "team", "x")
		w.want("there", tokentest.Accepted, "team", a)
		w.List("root", typestest.ConfigsResource)
		w.want("configuration gone", tokentest.Undecided, "team", a)
		w.List("root", typestest.TypesResource)
		w.want("type gone", tokentest.Skipped, "team", a)
	})
	t.Run("a list that breaks off removes nothing", func(t *testing.T) {
		w := newTypeWorld(t, Config{}).synced()
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a))
		w.SetType("root", "c1", "team", "x")
		w.want("there", tokentest.Accepted, "team", a)
		w.Tables["root"][typestest.ConfigsResource].Begin()
		w.Tables["root"][typestest.TypesResource].Begin()
		w.want("still there", tokentest.Accepted, "team", a)
	})
}

func TestTypeIndexNotSynced(t *testing.T) {
	w := newTypeWorld(t, Config{}, "shard-1")
	for _, step := range []struct {
		name string
		do   func()
		want error
	}{
		{"nothing read", func() {}, token.ErrUndecided},
		{"types read", func() { w.List("root", typestest.TypesResource) }, token.ErrUndecided},
		{"both read", func() { w.List("root", typestest.ConfigsResource) }, nil},
		{"another life", func() {
			w.Tables["root"][typestest.ConfigsResource] = w.Watches[typestest.ConfigsResource].Table("root")
		}, token.ErrUndecided},
		{"read again", func() { w.List("root", typestest.ConfigsResource) }, nil},
		{"moved to a shard not read", func() { w.placement.Move("c1", "shard-1") }, token.ErrUndecided},
		{"moved to a shard never heard of", func() { w.placement.Move("c1", "shard-2") }, token.ErrUndecided},
	} {
		step.do()
		published, err := w.index.Authenticators(index.Type{Cluster: "c1", Name: "team"})
		if !errors.Is(err, step.want) || published != nil {
			t.Errorf("%s: got %v, %v", step.name, published, err)
		}
	}
	if _, err := w.index.Authenticators(index.Type{Cluster: "c9", Name: "team"}); !errors.Is(err, token.ErrUndecided) {
		t.Errorf("a cluster that is nowhere: %v", err)
	}
}

// Two shards show the same cluster: the one where the index has it counts.
func TestTypeIndexMigration(t *testing.T) {
	a, b := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	w := newTypeWorld(t, Config{}, "shard-1").synced()
	w.SetConfig("root", "c1", "x", tokentest.SpecFor(a))
	w.SetType("root", "c1", "team", "x")
	w.SetType("shard-1", "c1", "team", "x")
	w.SetConfig("shard-1", "c1", "x", tokentest.SpecFor(b))
	w.want("root's", tokentest.Accepted, "team", a)
	w.want("not shard-1's", tokentest.Skipped, "team", b)
	w.placement.Move("c1", "shard-1")
	w.want("shard-1's", tokentest.Accepted, "team", b)
	w.want("not root's", tokentest.Skipped, "team", a)
	w.List("root", typestest.TypesResource)
	w.List("root", typestest.ConfigsResource)
	w.want("the old copy's end changes nothing", tokentest.Accepted, "team", b)
}

// An event that changes no spec keeps the very authenticators; one that
// changes a spec rebuilds just that configuration.
func TestTypeIndexUnchangedSpec(t *testing.T) {
	a, b := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	w := newTypeWorld(t, Config{}).synced()
	w.SetConfig("root", "c1", "x", tokentest.SpecFor(a))
	w.SetConfig("root", "c1", "y", tokentest.SpecFor(b))
	w.SetType("root", "c1", "team", "x", "y")
	w.want("x", tokentest.Accepted, "team", a)
	w.want("y", tokentest.Accepted, "team", b)
	members := func() [2]*jwt.Authenticator {
		published, err := w.index.Authenticators(index.Type{Cluster: "c1", Name: "team"})
		if err != nil {
			t.Fatal(err)
		}
		return [2]*jwt.Authenticator{published.ByIssuer[a.URL()][0].(jwt.BoundedAuthenticator).Authenticator, published.ByIssuer[b.URL()][0].(jwt.BoundedAuthenticator).Authenticator}
	}
	before := members()
	a.SetDown(true)
	for range 10 { // new versions, same specs; another order of keys is the same too
		w.SetConfig("root", "c1", "x", strings.Replace(tokentest.SpecFor(a), `{"jwt"`, ` { "jwt"`, 1))
		w.SetType("root", "c1", "team", "x", "y")
		w.List("root", typestest.ConfigsResource, w.Decode(typestest.ConfigsResource, "c1", "x", tokentest.SpecFor(a)), w.Decode(typestest.ConfigsResource, "c1", "y", tokentest.SpecFor(b)))
		if members() != before {
			t.Fatal("an unchanged spec was rebuilt, so its tokens are forgotten")
		}
		w.want("still", tokentest.Accepted, "team", a)
	}
	if s := w.state("x"); s.State != ShownReady {
		t.Errorf("it is %s", s.State)
	}
	if diff := cmp.Diff([2]int{1, 1}, [2]int{a.Discoveries(), a.KeyFetches()}); diff != "" {
		t.Errorf("fetches of an unchanged spec's issuer (-want +got):\n%s", diff)
	}
	published, err := w.index.Authenticators(index.Type{Cluster: "c1", Name: "team"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"workspacetype/team@" + fmt.Sprint(w.Version-2), "workspaceauthenticationconfiguration/x@" + fmt.Sprint(w.Version-1), "workspaceauthenticationconfiguration/y@" + fmt.Sprint(w.Version)}
	if diff := cmp.Diff(want, published.Versions); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}

	w.SetConfig("root", "c1", "y", tokentest.SpecFor(b, tokentest.With([]string{"app", "more"}, "issuer", "audiences"), tokentest.With("MatchAny", "issuer", "audienceMatchPolicy")))
	polltest.UntilState(t, "y is rebuilt", func() (bool, string) { return members()[1] != before[1], "it is not" })
	if members()[0] != before[0] {
		t.Error("x was rebuilt with y")
	}
	if diff := cmp.Diff([2]int{1, 1}, [2]int{b.Discoveries(), b.KeyFetches()}); diff != "" {
		t.Errorf("fetches from an issuer whose trust stayed (-want +got):\n%s", diff)
	}
}

// gatedIssuers holds builds up, or fails them. A world fills in its pool.
type gatedIssuers struct {
	jwt.Issuers
	gate chan error // one receive for each Acquire
	only string     // owner that is held up; empty: everybody
}

func (g *gatedIssuers) Acquire(trust issuer.IssuerRef, owner string) (*issuer.Issuer, func(), error) {
	if g.only == "" || g.only == owner {
		if err := <-g.gate; err != nil {
			return nil, nil, err
		}
	}
	return g.Issuers.Acquire(trust, owner)
}

func TestTypeIndexMakeBeforeBreak(t *testing.T) {
	a, b := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	setUp := func(t *testing.T) (*typeWorld, chan error) {
		gate := make(chan error, 10)
		w := newTypeWorld(t, Config{Issuers: &gatedIssuers{gate: gate}}).synced()
		t.Cleanup(func() { close(gate) })
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a))
		w.SetType("root", "c1", "team", "x")
		w.want("is being built", tokentest.Undecided, "team", a)
		gate <- nil
		w.want("built", tokentest.Accepted, "team", a)
		return w, gate
	}
	t.Run("same trust: the old serves until the new is built", func(t *testing.T) {
		w, gate := setUp(t)
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a, tokentest.With([]string{"web"}, "issuer", "audiences")))
		w.want("still", tokentest.Accepted, "team", a)
		gate <- nil
		w.want("new terms", tokentest.Refused, "team", a)
	})
	t.Run("another trust: the old ends at once", func(t *testing.T) {
		w, gate := setUp(t)
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(b))
		w.want("no longer", tokentest.Undecided, "team", a)
		w.want("not yet", tokentest.Undecided, "team", b)
		gate <- nil
		w.want("the new", tokentest.Accepted, "team", b)
		w.want("not the old", tokentest.Skipped, "team", a)
	})
	t.Run("another trust, unreachable: undecided, the old does not come back", func(t *testing.T) {
		w, gate := setUp(t)
		b.SetDown(true)
		defer b.SetDown(false)
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(b))
		gate <- nil
		w.want("the new is down", tokentest.Undecided, "team", b)
		w.want("the old is gone", tokentest.Skipped, "team", a)
	})
	t.Run("removed while it is being built", func(t *testing.T) {
		w, gate := setUp(t)
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(b))
		w.Tables["root"][typestest.ConfigsResource].Delete(w.Decode(typestest.ConfigsResource, "c1", "x", "{}"))
		gate <- nil
		w.want("gone", tokentest.Undecided, "team", b)
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a))
		gate <- nil
		gate <- nil
		w.want("back", tokentest.Accepted, "team", a)
	})
}

// A build that fails is tried again and takes no neighbour down.
func TestTypeIndexRetriesBuilds(t *testing.T) {
	a, b := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	fake := clocktesting.NewFakeClock(time.Now())
	gate := make(chan error, 10)
	w := newTypeWorld(t, Config{Issuers: &gatedIssuers{gate: gate}, Clock: fake}).synced()
	t.Cleanup(func() { close(gate) })
	gate <- nil
	w.SetConfig("root", "c1", "good", tokentest.SpecFor(b))
	w.SetType("root", "c1", "team", "bad", "good")
	w.want("good", tokentest.Accepted, "team", b)
	gate <- errors.New("out of luck")
	w.SetConfig("root", "c1", "bad", tokentest.SpecFor(a))
	polltest.UntilState(t, "reported", func() (bool, string) {
		_, reason := w.ask("c1", "team", a.Sign(nil))
		return strings.Contains(reason, "out of luck"), reason
	})
	w.want("the neighbour", tokentest.Accepted, "team", b)
	gate <- errors.New("again")
	gate <- nil
	polltest.UntilState(t, "the third build", func() (bool, string) {
		fake.Step(time.Second)
		got, reason := w.ask("c1", "team", a.Sign(issuertest.Claims{"sub": "alice", "aud": "app"}))
		return got == tokentest.Accepted, reason
	})
}

func TestTypeIndexBrokenConfigurations(t *testing.T) {
	good := issuertest.Serve(t, issuertest.Options{})
	a := issuertest.Serve(t, issuertest.Options{})
	for name, spec := range map[string]string{
		"no object":           `"x"`,
		"null":                `null`,
		"no entries":          `{"jwt":[]}`,
		"bad expression":      tokentest.SpecFor(a, tokentest.With(tokentest.Object{"expression": "claims."}, "claimMappings", "username")),
		"disallowed":          tokentest.SpecFor(a, tokentest.With("https://kcp.default.svc", "issuer", "url")),
		"too many":            tokentest.JSON(tokentest.Object{"jwt": make([]tokentest.Object, jwt.MaxJWTs+1)}),
		"issuer is unusable":  tokentest.SpecFor(a, tokentest.With("https://", "issuer", "url")),
		"discovery elsewhere": tokentest.SpecFor(a, tokentest.With("https://127.0.0.1:1/d", "issuer", "discoveryURL")),
	} {
		t.Run(name, func(t *testing.T) {
			w := newTypeWorld(t, Config{DisallowedIssuers: []string{"https://kcp.default.svc"}}).synced()
			w.SetConfig("root", "c1", "good", tokentest.SpecFor(good))
			w.SetConfig("root", "c1", "bad", spec)
			w.SetType("root", "c1", "team", "bad", "good")
			w.want("the neighbour", tokentest.Accepted, "team", good)
			if got, reason := w.ask("c1", "team", a.Sign(issuertest.Claims{"sub": "alice", "aud": "app"})); got == tokentest.Accepted {
				t.Errorf("accepted: %s", reason)
			}
			w.SetConfig("root", "c1", "bad", tokentest.SpecFor(a))
			w.want("mended", tokentest.Accepted, "team", a)
		})
	}
}

func TestTypeIndexTooManyConfigurations(t *testing.T) {
	a := issuertest.Serve(t, issuertest.Options{})
	w := newTypeWorld(t, Config{}).synced()
	var names []string
	for n := range MaxConfigurations + 3 {
		names = append(names, fmt.Sprint("x", n))
	}
	w.SetConfig("root", "c1", "x0", tokentest.SpecFor(a))
	w.SetType("root", "c1", "team", names...)
	w.want("the first", tokentest.Accepted, "team", a)
	published, err := w.index.Authenticators(index.Type{Cluster: "c1", Name: "team"})
	if err != nil {
		t.Fatal(err)
	}
	if last := published.Undecided[len(published.Undecided)-1]; !strings.Contains(last, "3 more authentication configurations") {
		t.Errorf("reasons %q", published.Undecided)
	}
}

// Random events on two shards, in any order: what serves in the end is what a
// simple model says, and nothing else is held.
func TestTypeIndexRandomEvents(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	w := newTypeWorld(t, Config{}, "shard-1").synced()
	type named struct{ shard, name string }
	types, configs := map[named][]string{}, map[named]int{}
	pick := func(prefix string) named {
		return named{[]string{"root", "shard-1"}[random.IntN(2)], fmt.Sprint(prefix, random.IntN(4))}
	}
	spec := func(audience int) string {
		return tokentest.SpecFor(s, tokentest.With([]string{fmt.Sprint("app", audience)}, "issuer", "audiences"))
	}
	for range 3000 {
		switch random.IntN(6) {
		case 0, 1:
			who, names := pick("t"), []string{}
			for n := range 4 {
				if random.IntN(2) == 0 {
					names = append(names, fmt.Sprint("x", n))
				}
			}
			types[who] = names
			w.SetType(who.shard, "c1", who.name, names...)
		case 2:
			who := pick("t")
			delete(types, who)
			w.Tables[who.shard][typestest.TypesResource].Delete(w.TypeOf("c1", who.name))
		case 3, 4:
			who := pick("x")
			configs[who] = random.IntN(4)
			w.SetConfig(who.shard, "c1", who.name, spec(configs[who]))
		case 5:
			who := pick("x")
			delete(configs, who)
			w.Tables[who.shard][typestest.ConfigsResource].Delete(w.Decode(typestest.ConfigsResource, "c1", who.name, "{}"))
		}
	}
	for _, shard := range []string{"root", "shard-1"} {
		w.placement.Move("c1", shard)
		for n := range 4 {
			name := fmt.Sprint("t", n)
			want := map[string]bool{}
			for _, config := range types[named{shard, name}] {
				if audience, ok := configs[named{shard, config}]; ok {
					want[fmt.Sprintf("wants an audience of %q", []string{fmt.Sprint("app", audience)})] = true
				}
			}
			polltest.UntilState(t, shard+" "+name, func() (bool, string) {
				got := map[string]bool{}
				published, err := w.index.Authenticators(index.Type{Cluster: "c1", Name: name})
				if err != nil {
					t.Fatal(err)
				}
				if published != nil {
					for _, m := range published.ByIssuer[s.URL()] {
						if a, ok := m.(jwt.BoundedAuthenticator); ok {
							got[a.Describe("", true).Detail] = true
						} else {
							got["not ready"] = true
						}
					}
				}
				return maps.Equal(want, got), cmp.Diff(want, got)
			})
		}
	}
	for shard := range w.Tables {
		w.List(shard, typestest.TypesResource)
		w.List(shard, typestest.ConfigsResource)
	}
	if diff := cmp.Diff(0, len(w.pool.Status())); diff != "" {
		t.Errorf("issuers left (-want +got):\n%s", diff)
	}
}

// BenchmarkConfigurations says what a configuration costs: 10,000 of one trust.
func BenchmarkConfigurations(b *testing.B) {
	const count = 10000
	s := issuertest.Serve(b, issuertest.Options{})
	for name, edit := range map[string]func(tokentest.Object){
		"claims":      func(tokentest.Object) {},
		"expressions": tokentest.With(tokentest.Object{"expression": "claims.sub + claims.iss"}, "claimMappings", "username"),
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				w := newTypeWorld(b, Config{}).synced()
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				start := time.Now()
				for n := range count {
					w.SetConfig("root", "c1", fmt.Sprint("x", n), tokentest.SpecFor(s, edit))
					w.SetType("root", "c1", fmt.Sprint("t", n), fmt.Sprint("x", n))
				}
				w.want("the last is built", tokentest.Accepted, fmt.Sprint("t", count-1), s)
				b.ReportMetric(float64(time.Since(start).Microseconds())/count, "µs/configuration")
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/count, "B/configuration")
				b.ReportMetric(float64(s.KeyFetches()), "fetches")
				runtime.KeepAlive(w)
			}
		})
	}
}

func TestTypeIndexStatus(t *testing.T) {
	a := issuertest.Serve(t, issuertest.Options{})
	w := newTypeWorld(t, Config{}).synced()
	w.SetConfig("root", "c1", "good", tokentest.SpecFor(a))
	w.SetConfig("root", "c1", "bad", `{"jwt":1}`)
	w.SetConfig("root", "c1", "unused", tokentest.SpecFor(a))
	w.SetType("root", "c1", "team", "good", "bad", "missing")
	w.SetType("root", "c1", "other", "good")
	w.want("good", tokentest.Accepted, "team", a)
	var got []string
	for _, s := range w.index.Status() {
		got = append(got, fmt.Sprintf("%s/%s/%s %s %v %v", s.Shard, s.Cluster, s.Name, s.State, s.Types, s.Error != ""))
	}
	want := []string{
		"root/c1/bad Broken [team] true",
		"root/c1/good Ready [other team] false",
		"root/c1/missing Missing [team] false",
		"root/c1/unused Unused [] false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestManyConfigurationsOneIssuer: one discovery and one key set for all, and
// changing one builds that one.
func TestManyConfigurationsOneIssuer(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	w := newTypeWorld(t, Config{}).synced()
	const many, most = 2_000, 20_000
	before := authntest.HeapInUse()
	for n := range many {
		w.SetConfig("root", "c1", fmt.Sprint("x", n), tokentest.SpecFor(s))
		w.SetType("root", "c1", fmt.Sprint("t", n), fmt.Sprint("x", n))
	}
	authenticatorOf := func(n int) *jwt.Authenticator {
		published, err := w.index.Authenticators(index.Type{Cluster: "c1", Name: fmt.Sprint("t", n)})
		if err != nil || len(published.ByIssuer[s.URL()]) != 1 {
			return nil // not known yet
		}
		built, _ := published.ByIssuer[s.URL()][0].(jwt.BoundedAuthenticator) // notReady before that
		return built.Authenticator
	}
	built := make([]*jwt.Authenticator, many)
	for n := range many {
		polltest.UntilState(t, fmt.Sprint("configuration ", n, " is built"), func() (bool, string) { built[n] = authenticatorOf(n); return built[n] != nil, "it is not" })
	}
	if got := (authntest.HeapInUse() - before) / many; got > most {
		t.Errorf("%d bytes a configuration, want at most %d", got, most)
	}
	w.SetConfig("root", "c1", "x7", tokentest.SpecFor(s, tokentest.With([]string{"app", "more"}, "issuer", "audiences"), tokentest.With("MatchAny", "issuer", "audienceMatchPolicy")))
	polltest.UntilState(t, "the changed one is rebuilt", func() (bool, string) { return authenticatorOf(7) != built[7], "it is not" })
	for n := range many {
		if n != 7 && authenticatorOf(n) != built[n] {
			t.Fatalf("configuration %d was rebuilt with another", n)
		}
	}
	for _, n := range []int{0, 7, many - 1} {
		w.want("accepts", tokentest.Accepted, fmt.Sprint("t", n), s)
	}
	if diff := cmp.Diff([3]int{1, 1, 1}, [3]int{s.Discoveries(), s.KeyFetches(), len(w.pool.Status())}); diff != "" {
		t.Errorf("discoveries, key fetches, issuers (-want +got):\n%s", diff)
	}
}
