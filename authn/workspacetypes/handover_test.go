package workspacetypes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/internal/typestest"
	"frontproxy/authn/issuer/issuertest"
	"frontproxy/authn/jwt"
	"frontproxy/internal/polltest"
)

// withMoreCAs is another trust in the same issuer.
func withMoreCAs(s, other *issuertest.Issuer) func(tokentest.Object) {
	return tokentest.With(s.CAPEM()+other.CAPEM(), "issuer", "certificateAuthority")
}

// state is a configuration's.
func (w *typeWorld) state(name string) ConfigurationStatus {
	for _, s := range w.index.Status() {
		if s.Name == name {
			return s
		}
	}
	return ConfigurationStatus{}
}

func (w *typeWorld) wantState(name string, want ShownState) ConfigurationStatus {
	w.t.Helper()
	var s ConfigurationStatus
	polltest.UntilState(w.t, name+" is "+string(want), func() (bool, string) {
		s = w.state(name)
		return s.State == want, fmt.Sprintf("%+v", s)
	})
	return s
}

func (w *typeWorld) deleteConfig(name string) {
	w.Tables["root"][typestest.ConfigsResource].Delete(w.Decode(typestest.ConfigsResource, "c1", name, "{}"))
}

// What a broken spec still trusts goes on as before, and nothing else.
func TestTypeIndexBrokenReplacement(t *testing.T) {
	a, b := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	badRule := tokentest.With([]tokentest.Object{{"expression": "claims."}}, "claimValidationRules")
	var many []tokentest.Object
	for n := range jwt.MaxExpressions + 1 {
		many = append(many, tokentest.Object{"expression": fmt.Sprintf("claims.sub != '%d'", n)})
	}
	entries := func(specs ...string) string {
		var all []string
		for _, s := range specs {
			all = append(all, strings.TrimSuffix(strings.TrimPrefix(s, `{"jwt":[`), `]}`))
		}
		return `{"jwt":[` + strings.Join(all, ",") + `]}`
	}
	seventeen := []string{tokentest.SpecFor(a)}
	for len(seventeen) <= jwt.MaxJWTs {
		seventeen = append(seventeen, tokentest.SpecFor(b))
	}
	for name, tc := range map[string]struct {
		spec string
		want tokentest.Outcome // of a's tokens
	}{
		"no audience":                  {tokentest.SpecFor(a, tokentest.With([]string{}, "issuer", "audiences")), tokentest.Accepted},
		"an expression":                {tokentest.SpecFor(a, badRule), tokentest.Accepted},
		"too many expressions":         {tokentest.SpecFor(a, tokentest.With(many, "claimValidationRules")), tokentest.Accepted},
		"too many entries":             {entries(seventeen...), tokentest.Accepted},
		"beside a broken one":          {entries(tokentest.SpecFor(a), tokentest.SpecFor(b, badRule)), tokentest.Accepted},
		"beside one with a password":   {entries(tokentest.SpecFor(b, tokentest.With("https://u:hush@x.example", "issuer", "url")), tokentest.SpecFor(a)), tokentest.Accepted},
		"twice, with another CA first": {entries(tokentest.SpecFor(a, withMoreCAs(a, b)), tokentest.SpecFor(a)), tokentest.Accepted},
		"another issuer":               {tokentest.SpecFor(b, badRule), tokentest.Undecided},
		"unreadable":                   {`{"jwt":7}`, tokentest.Undecided},
		"too large":                    {tokentest.SpecFor(a, tokentest.With(strings.Repeat("x", jwt.MaxSpecBytes), "claimMappings", "username", "prefix")), tokentest.Undecided},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTypeWorld(t, Config{}).synced()
			w.SetConfig("root", "c1", "x", tokentest.SpecFor(a))
			w.SetType("root", "c1", "team", "x")
			w.want("built", tokentest.Accepted, "team", a)
			w.SetConfig("root", "c1", "x", tc.spec)
			s := w.wantState("x", ShownBroken)
			if serves := strings.Contains(s.Error, "stays in use"); serves != (tc.want == tokentest.Accepted) || strings.Contains(s.Error, "hush") {
				t.Errorf("error %q", s.Error)
			}
			got, reason := w.ask("c1", "team", a.Sign(issuertest.Claims{"sub": "alice", "aud": "app"}))
			if got != tc.want {
				t.Errorf("a's tokens meet %s (%s), want %s", got, reason, tc.want)
			}
			if tc.want != tokentest.Accepted && len(w.pool.Status()) != 0 {
				t.Errorf("issuers of nothing: %+v", w.pool.Status())
			}
			w.SetConfig("root", "c1", "x", tokentest.SpecFor(b))
			w.want("mended", tokentest.Accepted, "team", b)
			w.want("mended, without the old", tokentest.Skipped, "team", a)
		})
	}
}

// A broken configuration is told once, by name, however often it is tried, and
// once more when it is mended.
func TestTypeIndexTellsOfBrokenConfigurations(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	log := funcr.New(func(_, args string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, args)
	}, funcr.Options{})
	count := func(what string) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, line := range lines {
			if strings.Contains(line, what) && strings.Contains(line, `"cluster"="c1" "name"="x"`) {
				n++
			}
		}
		return n
	}
	a := issuertest.Serve(t, issuertest.Options{})
	fake := clocktesting.NewFakeClock(time.Now())
	w := newTypeWorld(t, Config{Clock: fake, Log: log}).synced()
	w.SetType("root", "c1", "team", "x")
	for n, broken := range []string{tokentest.SpecFor(a, tokentest.With([]string{}, "issuer", "audiences")), `{"jwt":7}`} {
		w.SetConfig("root", "c1", "x", broken)
		w.wantState("x", ShownBroken)
		if got := w.index.Counts()[ShownBroken]; got != 1 {
			t.Errorf("%d are counted as broken", got)
		}
		for again := range 5 {
			w.SetConfig("root", "c1", "x", broken) // another version of the same
			fake.Step(buildRetryMax)
			polltest.UntilState(t, "it is tried again", func() (bool, string) {
				w.index.mu.RLock()
				defer w.index.mu.RUnlock()
				c := w.index.shards["root"].configs[objectName{"c1", "x"}]
				return c.state == stateInvalid || c.failure.count >= again+2, fmt.Sprint(c.failure.count, " failures")
			})
		}
		if got := count("is broken"); got != n+1 {
			t.Errorf("it is told %d times, want %d", got, n+1)
		}
	}
	w.SetConfig("root", "c1", "x", tokentest.SpecFor(a))
	w.want("mended", tokentest.Accepted, "team", a)
	w.wantState("x", ShownReady)
	if got := count("works again"); got != 1 {
		t.Errorf("that it is mended is told %d times", got)
	}
}

// The pauses between builds grow to a bound, and neither an unchanged spec nor a
// type that goes on naming it shortens them.
func TestTypeIndexBuildPauses(t *testing.T) {
	a := issuertest.Serve(t, issuertest.Options{})
	fake := clocktesting.NewFakeClock(time.Now())
	gate := make(chan error)
	w := newTypeWorld(t, Config{Issuers: &gatedIssuers{gate: gate}, Clock: fake}).synced()
	t.Cleanup(func() { close(gate) })
	w.SetConfig("root", "c1", "x", tokentest.SpecFor(a))
	w.SetType("root", "c1", "team", "x")
	for n := range 12 {
		gate <- errors.New("out of luck")
		want := min(buildRetryMax, buildRetry<<n)
		polltest.UntilState(t, "the failure is known", func() (bool, string) {
			w.index.mu.RLock()
			defer w.index.mu.RUnlock()
			for c := range w.index.retry {
				return c.failure.count == n+1 && c.failure.due.Equal(fake.Now().Add(want)), fmt.Sprint(c.failure, fake.Now())
			}
			return false, "it waits for nothing"
		})
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a))
		w.SetType("root", "c1", "team", "x")
		w.index.mu.RLock()
		if waiting := len(w.index.todo.turns); waiting != 0 || len(w.index.retry) != 1 {
			t.Errorf("%d wait to be built before %s are over", waiting, want)
		}
		w.index.mu.RUnlock()
		fake.Step(want)
	}
	gate <- nil
	w.want("at last", tokentest.Accepted, "team", a)
}

// What has built after a failure waits for keys only: it is not broken any more.
func TestTypeIndexBuiltAfterAFailure(t *testing.T) {
	a, b := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	fake := clocktesting.NewFakeClock(time.Now())
	gate := make(chan error)
	w := newTypeWorld(t, Config{Issuers: &gatedIssuers{gate: gate}, Clock: fake}).synced()
	t.Cleanup(func() { close(gate) })
	w.SetConfig("root", "c1", "x", tokentest.SpecFor(a))
	w.SetType("root", "c1", "team", "x")
	gate <- nil
	w.want("built", tokentest.Accepted, "team", a)
	a.SetDown(true)
	w.SetConfig("root", "c1", "x", tokentest.SpecFor(a, withMoreCAs(a, b)))
	gate <- errors.New("out of luck")
	if s := w.wantState("x", ShownBroken); !strings.Contains(s.Error, "out of luck") {
		t.Errorf("error %q", s.Error)
	}
	fake.Step(buildRetry)
	gate <- nil
	if s := w.wantState("x", ShownPending); s.Error != "" {
		t.Errorf("error %q", s.Error)
	}
}

// The CA of an issuer changes: the old serves until the new has the keys.
func TestTypeIndexHandOver(t *testing.T) {
	setUp := func(t *testing.T) (w *typeWorld, a, b *issuertest.Issuer, fake *clocktesting.FakeClock) {
		a, b = issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
		fake = clocktesting.NewFakeClock(time.Now())
		w = newTypeWorld(t, Config{Clock: fake}).synced()
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a))
		w.SetType("root", "c1", "team", "x")
		w.want("built", tokentest.Accepted, "team", a)
		a.SetDown(true)
		return w, a, b, fake
	}
	// step lets time pass, in which nothing is lost.
	step := func(w *typeWorld, fake *clocktesting.FakeClock, d time.Duration, s *issuertest.Issuer) {
		w.t.Helper()
		for end := fake.Now().Add(d); fake.Now().Before(end); fake.Step(d / 20) {
			if got, reason := w.ask("c1", "team", s.Sign(issuertest.Claims{"sub": "alice", "aud": "app"})); got != tokentest.Accepted {
				w.t.Fatalf("%s before the end: %s: %s", end.Sub(fake.Now()), got, reason)
			}
		}
	}
	over := func(w *typeWorld, fake *clocktesting.FakeClock, what string, want tokentest.Outcome, s *issuertest.Issuer) {
		w.t.Helper()
		polltest.UntilState(w.t, what, func() (bool, string) {
			fake.Step(handOverWait / 10)
			got, reason := w.ask("c1", "team", s.Sign(issuertest.Claims{"sub": "alice", "aud": "app"}))
			return got == want, fmt.Sprintf("%s: %s", got, reason)
		})
	}
	t.Run("the new is ready", func(t *testing.T) {
		w, a, b, fake := setUp(t)
		a.SetDown(false)
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a, withMoreCAs(a, b), tokentest.With("new:", "claimMappings", "username", "prefix")))
		polltest.UntilState(t, "it is in use", func() (bool, string) {
			fake.Step(handOverPoll)
			if got, reason := w.ask("c1", "team", a.Sign(issuertest.Claims{"sub": "alice", "aud": "app"})); got != tokentest.Accepted {
				t.Fatalf("%s: %s", got, reason)
			}
			return w.state("x").State == ShownReady, "it is not"
		})
		if diff := cmp.Diff(1, len(w.pool.Status())); diff != "" {
			t.Errorf("issuers (-want +got):\n%s", diff)
		}
	})
	t.Run("the new is not reachable, and later is", func(t *testing.T) {
		w, a, b, fake := setUp(t)
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a, withMoreCAs(a, b)))
		step(w, fake, handOverWait, a)
		over(w, fake, "the old has ended", tokentest.Undecided, a)
		w.wantState("x", ShownReady)
		a.SetDown(false)
		over(w, fake, "the new", tokentest.Accepted, a)
	})
	t.Run("the new does not build", func(t *testing.T) {
		w, a, _, fake := setUp(t)
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a, tokentest.With("rubbish", "issuer", "certificateAuthority")))
		w.wantState("x", ShownBroken)
		step(w, fake, handOverWait, a)
		over(w, fake, "the old has ended", tokentest.Undecided, a)
		polltest.UntilState(t, "its issuer is let go", func() (bool, string) { return len(w.pool.Status()) == 0, fmt.Sprint(w.pool.Status()) })
	})
	t.Run("and back", func(t *testing.T) {
		w, a, b, fake := setUp(t)
		fetches := a.KeyFetches()
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a, withMoreCAs(a, b)))
		step(w, fake, handOverWait/2, a)
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a))
		w.wantState("x", ShownReady)
		step(w, fake, 2*handOverWait, a)
		if diff := cmp.Diff([2]int{1, fetches}, [2]int{len(w.pool.Status()), a.KeyFetches()}); diff != "" {
			t.Errorf("issuers and fetches (-want +got):\n%s", diff)
		}
	})
	t.Run("an issuer that is taken out ends at once", func(t *testing.T) {
		w, a, b, _ := setUp(t)
		b.SetDown(true)
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a, withMoreCAs(a, b)))
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(b))
		if got, reason := w.ask("c1", "team", a.Sign(issuertest.Claims{"sub": "alice", "aud": "app"})); got == tokentest.Accepted {
			t.Errorf("accepted by %s", reason)
		}
	})
	t.Run("a removed configuration ends at once, and is put back", func(t *testing.T) {
		w, a, b, _ := setUp(t)
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a, withMoreCAs(a, b)))
		w.deleteConfig("x")
		if got, reason := w.ask("c1", "team", a.Sign(issuertest.Claims{"sub": "alice", "aud": "app"})); got == tokentest.Accepted {
			t.Errorf("accepted by %s", reason)
		}
		polltest.UntilState(t, "its issuers are let go", func() (bool, string) { return len(w.pool.Status()) == 0, fmt.Sprint(w.pool.Status()) })
		a.SetDown(false)
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a))
		w.want("put back", tokentest.Accepted, "team", a)
	})
	t.Run("a type made again", func(t *testing.T) {
		w, a, b, _ := setUp(t)
		w.SetConfig("root", "c1", "x", tokentest.SpecFor(a, withMoreCAs(a, b)))
		w.Tables["root"][typestest.TypesResource].Delete(w.TypeOf("c1", "team"))
		w.want("gone", tokentest.Skipped, "team", a)
		a.SetDown(false)
		w.SetType("root", "c1", "team", "x")
		w.want("made again", tokentest.Accepted, "team", a)
	})
	t.Run("nobody shall wait for what was never there", func(t *testing.T) {
		w, a, b, _ := setUp(t)
		b.SetDown(true)
		w.SetConfig("root", "c1", "y", tokentest.SpecFor(b))
		w.SetType("root", "c1", "team", "x", "y")
		w.wantState("y", ShownReady)
		w.want("b is down", tokentest.Undecided, "team", b)
		b.SetDown(false)
		w.SetConfig("root", "c1", "y", tokentest.SpecFor(b, withMoreCAs(b, a)))
		w.want("b is up, and no time has passed", tokentest.Accepted, "team", b)
	})
}

// Valid tokens while everything that may change without a loss does: terms,
// CA, discovery URL, broken terms, an issuer more and less.
func TestTypeIndexChangesLoseNothing(t *testing.T) {
	s, other, dead := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	dead.SetDown(true)
	s.Handle("/elsewhere", func(rw http.ResponseWriter, r *http.Request) {
		r.URL.Path = issuertest.DiscoveryPath
		s.ServeHTTP(rw, r)
	})
	w := newTypeWorld(t, Config{}).synced()
	two := func(first string, second *issuertest.Issuer) string {
		return strings.TrimSuffix(first, "]}") + "," + strings.TrimPrefix(tokentest.SpecFor(second), `{"jwt":[`)
	}
	changes := []struct {
		name, spec string
		ready      bool
	}{
		{"audiences", tokentest.SpecFor(s, tokentest.With([]string{"app", "more"}, "issuer", "audiences"), tokentest.With("MatchAny", "issuer", "audienceMatchPolicy")), true},
		{"CA", tokentest.SpecFor(s, withMoreCAs(s, other)), true},
		{"expressions", tokentest.SpecFor(s, tokentest.With(tokentest.Object{"expression": "claims.sub"}, "claimMappings", "username")), true},
		{"broken expressions", tokentest.SpecFor(s, tokentest.With(tokentest.Object{"expression": "claims."}, "claimMappings", "username")), false},
		{"discovery URL", tokentest.SpecFor(s, tokentest.With(s.URL()+"/elsewhere", "issuer", "discoveryURL")), true},
		{"no audience", tokentest.SpecFor(s, tokentest.With(s.URL()+"/elsewhere", "issuer", "discoveryURL"), tokentest.With([]string{}, "issuer", "audiences")), false},
		{"an issuer more", two(tokentest.SpecFor(s), other), true},
		{"another that is down", two(tokentest.SpecFor(s), dead), true},
		{"all as it was", tokentest.SpecFor(s), true},
	}
	w.SetConfig("root", "c1", "x", tokentest.SpecFor(s))
	w.SetType("root", "c1", "team", "x")
	w.want("ready", tokentest.Accepted, "team", s)
	var accepted atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for worker := range 4 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				raw := s.Sign(issuertest.Claims{"sub": fmt.Sprint(worker, n%50), "aud": "app"})
				if reason := firstRefusal(w.index, s.URL(), raw); reason != "" {
					t.Errorf("after %d tokens: %s", accepted.Load(), reason)
					return
				}
				accepted.Add(1)
			}
		})
	}
	const rounds = 4
	for range rounds {
		for _, c := range changes {
			w.SetConfig("root", "c1", "x", c.spec)
			polltest.UntilState(t, c.name, func() (bool, string) {
				s := w.state("x")
				return t.Failed() || s.State == map[bool]ShownState{true: ShownReady, false: ShownBroken}[c.ready], fmt.Sprintf("%+v", s)
			})
			before := accepted.Load()
			polltest.Until(t, "20 more tokens", func() bool { return accepted.Load() >= before+20 || t.Failed() })
		}
	}
	t.Logf("%d changes, %d tokens, none lost", rounds*len(changes), accepted.Load())
}

// What is scraped waits neither for an issuer nor for a build.
func TestStatusWaitsForNobody(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	s.SetDelay(time.Hour)
	gate := make(chan error)
	w := newTypeWorld(t, Config{Issuers: &gatedIssuers{gate: gate, only: "c2"}}).synced()
	t.Cleanup(func() { close(gate) })
	w.SetConfig("root", "c1", "fetches", tokentest.SpecFor(s))
	w.SetType("root", "c1", "team", "fetches")
	w.wantState("fetches", ShownReady)
	w.SetConfig("root", "c2", "builds", tokentest.SpecFor(s)) // and never ends
	w.SetType("root", "c2", "team", "builds")
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		for range 1000 {
			w.index.Counts()
			w.index.Status()
			w.pool.Counts()
			w.pool.Status()
		}
	}()
	select {
	case <-answered:
	case <-time.After(30 * time.Second):
		t.Fatal("somebody waits")
	}
	if s := w.state("builds").State; s != ShownPending {
		t.Errorf("the build is %s: this tests nothing", s)
	}
}
