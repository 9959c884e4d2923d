package jwt

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/issuer"
	"frontproxy/authn/issuer/issuertest"
	"frontproxy/authn/token"
	"frontproxy/internal/bytecache"
)

// doublingSum is a sum of terms times a list, nested in itself.
func doublingSum(terms, depth int) string {
	x := "claims.l"
	for range depth {
		x = "[" + x + "].map(a, a" + strings.Repeat(" + a", terms-1) + ")[0]"
	}
	return x
}

// TestHostileExpressionsEnd: what ended the process, or computed for as long as it
// liked, is refused having allocated little, in mappings and rules, and its slot is
// free at once. Without the bounds, this test takes all memory there is.
func TestHostileExpressionsEnd(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	pool := tokentest.RunPool(t, issuer.Config{})
	mapping := func(path ...string) func(string) func(tokentest.Object) {
		return func(x string) func(tokentest.Object) {
			return tokentest.With(tokentest.Object{"expression": x}, append([]string{"claimMappings"}, path...)...)
		}
	}
	rules := func(path string) func(string) func(tokentest.Object) {
		return func(x string) func(tokentest.Object) {
			return tokentest.With([]tokentest.Object{{"expression": "(" + x + ").size() == 0", "message": "m"}}, path)
		}
	}
	for name, edit := range map[string]func(tokentest.Object){
		"forty terms in groups":    mapping("groups")(doublingSum(40, 4)),
		"sixteen terms in groups":  mapping("groups")(doublingSum(16, 4)),
		"forty terms in the name":  mapping("username")(doublingSum(40, 4)),
		"forty terms in the UID":   mapping("uid")(doublingSum(40, 4)),
		"forty terms in an extra":  tokentest.With([]tokentest.Object{{"key": "example.com/x", "valueExpression": doublingSum(40, 4)}}, "claimMappings", "extra"),
		"forty terms in a rule":    rules("claimValidationRules")(doublingSum(40, 4)),
		"a long sum in groups":     mapping("groups")("claims.l" + strings.Repeat(" + claims.l", 240)),
		"flatten in groups":        mapping("groups")("[" + doublingSum(16, 2) + "].map(a, [a, a, a, a]).flatten().flatten()"),
		"distinct in groups":       mapping("groups")("lists.range(30000).distinct().map(a, 'x')"),
		"sets in a rule":           tokentest.With([]tokentest.Object{{"expression": "sets.contains(lists.range(5000), lists.range(5000).reverse())", "message": "m"}}, "claimValidationRules"),
		"the user's own groups":    tokentest.With([]tokentest.Object{{"expression": strings.ReplaceAll(doublingSum(40, 4), "claims.l", "user.groups") + ".size() == 0", "message": "m"}}, "userValidationRules"),
		"equality of what doubles": mapping("username")("[[claims.l]" + strings.Repeat(".map(a, [a, a, a, a, a, a, a, a])", 5) + "].map(a, a == a)[0] ? 'a' : 'b'"),
		"a nested claim":           mapping("username")("string(claims.deep)"),
	} {
		t.Run(name, func(t *testing.T) {
			groups := tokentest.With(tokentest.Object{"claim": "l", "prefix": "g:"}, "claimMappings", "groups")
			m := mustBuild(t, Config{Issuers: pool}, tokentest.SpecFor(s, groups, edit))
			claims := issuertest.Claims{"sub": "alice", "aud": "app", "l": make([]string, 3900)}
			if name == "a nested claim" {
				var deep any = "x"
				for range 3000 {
					deep = []any{deep}
				}
				claims["deep"], claims["l"] = deep, []string{}
			}
			signed := token.Parse(s.Sign(claims))
			// The first look fetches the issuer's keys.
			if _, err := m.verify(t.Context(), signed.Raw, m.clock.Now()); err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, err := m.AuthenticateToken(context.Background(), signed)
			runtime.ReadMemStats(&after)
			if err == nil || errors.Is(err, token.ErrUndecided) || len(err.Error()) > 1000 {
				t.Errorf("got %v, want a refusal", err)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 12<<20 {
				t.Errorf("allocated %d bytes (%v)", took, err)
			}
			if len(m.Types) != 0 {
				t.Errorf("%d slots are taken afterwards", len(m.Types))
			}
		})
	}
}

// TestOutcomesOfExpressionsAreRemembered: the same token is not evaluated again,
// whether it is admitted or refused, while its signature is verified each time.
func TestOutcomesOfExpressionsAreRemembered(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	pool := tokentest.RunPool(t, issuer.Config{})
	for name, tt := range map[string]struct{ x, sub string }{
		"admitted":             {"'oidc:' + claims.sub", "alice"},
		"refused by a mapping": {"claims.missing", "alice"},
		"refused by its cost":  {doublingSum(40, 4), "alice"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := tokentest.SpecFor(s, tokentest.With(tokentest.Object{"expression": tt.x}, "claimMappings", "username"))
			m := mustBuild(t, Config{Issuers: pool}, spec)
			signed := s.Sign(issuertest.Claims{"sub": tt.sub, "aud": "app", "l": make([]string, 3900)})
			first, _, firstErr := m.AuthenticateToken(t.Context(), token.Parse(signed))
			m.cache = token.NewCache[user.Info](token.CacheBytes, nil)
			for range slotsOfType {
				m.Types <- struct{}{} // nothing can be evaluated any more
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			again, _, err := m.AuthenticateToken(ended, token.Parse(signed))
			if fmt.Sprint(again, err) != fmt.Sprint(first, firstErr) || (err == nil) != (name == "admitted") {
				t.Errorf("again: %v, %v; at first: %v, %v", again, err, first, firstErr)
			}
			if _, _, err := m.AuthenticateToken(ended, token.Parse(s.Sign(issuertest.Claims{"sub": "bob", "aud": "app"}))); !errors.Is(err, token.ErrUndecided) {
				t.Errorf("another token: %v, want undecided for lack of a slot", err)
			}
			if _, _, err := m.AuthenticateToken(ended, token.Parse(signed[:len(signed)-8]+"AAAAAAAA")); err == nil || errors.Is(err, token.ErrUndecided) || err.Error() == fmt.Sprint(firstErr) {
				t.Errorf("with another signature: %v, want it refused for that", err)
			}
			// A configuration that is built anew evaluates anew.
			changed := mustBuild(t, Config{Issuers: pool}, spec)
			changed.Types = m.Types
			if _, _, err := changed.AuthenticateToken(ended, token.Parse(signed)); !errors.Is(err, token.ErrUndecided) {
				t.Errorf("by a new generation of the configuration: %v, want undecided for lack of a slot", err)
			}
		})
	}
}

// TestEvaluationThatRunsOutOfTimeIsUndecided: what the deadline ended is tried again.
func TestEvaluationThatRunsOutOfTimeIsUndecided(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	m := mustBuild(t, Config{}, tokentest.SpecFor(s, tokentest.With(tokentest.Object{"expression": "lists.range(10000).map(i, claims.sub)[0]"}, "claimMappings", "username")))
	signed := s.Sign(issuertest.Claims{"sub": "alice", "aud": "app"})
	claims, err := m.verify(t.Context(), signed, m.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.evaluate(ended, signed, claims); !errors.Is(err, token.ErrUndecided) {
		t.Errorf("after its time: %v, want undecided", err)
	}
	if len(m.Types) != 0 {
		t.Errorf("%d slots are taken afterwards", len(m.Types))
	}
	if u, err := m.evaluate(t.Context(), signed, claims); err != nil || u.GetName() != "alice" {
		t.Errorf("again: %v, %v", u, err)
	}
}

// TestEvaluationsAreBoundedForAll: whatever the number of owners.
func TestEvaluationsAreBoundedForAll(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	m := mustBuild(t, Config{}, tokentest.SpecFor(s, tokentest.With(tokentest.Object{"expression": "claims.sub"}, "claimMappings", "username")))
	if diff := cmp.Diff(evaluationsOfAll(), cap(m.evaluations)); diff != "" {
		t.Fatalf("slots (-want +got):\n%s", diff)
	}
	for range cap(m.evaluations) {
		m.evaluations <- struct{}{}
	}
	signed := s.Sign(issuertest.Claims{"sub": "alice", "aud": "app"})
	claims, err := m.verify(t.Context(), signed, m.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.evaluate(ended, signed, claims); !errors.Is(err, token.ErrUndecided) || !strings.Contains(err.Error(), "all workspaces") {
		t.Errorf("with all slots taken: %v, want undecided for that", err)
	}
	if len(m.Types) != 0 {
		t.Errorf("%d of the type's slots are taken afterwards", len(m.Types))
	}
	<-m.evaluations
	if _, err := m.evaluate(t.Context(), signed, claims); err != nil {
		t.Errorf("with one free: %v", err)
	}
}

// TestPlainMappingsRunNoCEL: no compiler is made for them, nobody waits for a
// slot, and a prefix does not multiply.
func TestPlainMappingsRunNoCEL(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	edits := []func(tokentest.Object){
		tokentest.With(tokentest.Object{"claim": "sub", "prefix": "oidc:"}, "claimMappings", "username"),
		tokentest.With(tokentest.Object{"claim": "groups", "prefix": "oidc:"}, "claimMappings", "groups"),
		tokentest.With(tokentest.Object{"claim": "sub"}, "claimMappings", "uid"),
		tokentest.With([]tokentest.Object{{"claim": "tenant", "requiredValue": "t"}}, "claimValidationRules"),
	}
	spec, err := ParseSpec([]byte(tokentest.SpecFor(s, edits...)))
	if err != nil {
		t.Fatal(err)
	}
	b := NewBuilder(Config{Issuers: tokentest.RunPool(t, issuer.Config{}), Clock: clocktesting.NewFakeClock(time.Now()), Limited: true, Name: entryAt})
	b.compiler.compiler = nil // would panic
	built, err := b.Build("c1", "config", spec)
	if err != nil {
		t.Fatal(err)
	}
	defer built.Close()
	m := BoundedAuthenticator{Authenticator: built.Authenticators[0], Types: make(chan struct{})} // no slot at all
	u, _, err := m.AuthenticateToken(t.Context(), token.Parse(s.Sign(issuertest.Claims{"sub": "alice", "aud": "app", "tenant": "t", "groups": []string{"a"}})))
	if err != nil || u.GetName() != "oidc:alice" || u.GetUID() != "alice" || u.GetGroups()[0] != "oidc:a" {
		t.Errorf("got %v, %v", u, err)
	}
	long := tokentest.With(tokentest.Object{"claim": "groups", "prefix": strings.Repeat("p", maxGroupsPrefix+1)}, "claimMappings", "groups")
	if _, err := buildSpec(t, Config{}, tokentest.SpecFor(s, long)); err == nil || !strings.Contains(err.Error(), "groups.prefix") {
		t.Errorf("a prefix that is too long: %v", err)
	}
}

func TestMappingCacheIsBounded(t *testing.T) {
	c := bytecache.New[token.Digest, mapping](mappingCacheBytes, nil)
	add := func(key token.Digest, m mapping) { c.Add(key, m, m.size()) }
	now := time.Now()
	key := func(i int) (d token.Digest) {
		d[0], d[1], d[2] = byte(i), byte(i>>8), byte(i>>16)
		return d
	}
	name := strings.Repeat("a", 10_000)
	for i := range 1000 {
		add(key(i), mapping{user: &user.DefaultInfo{Name: name}, expiry: now.Add(time.Duration(i) * time.Second)})
		add(key(i), mapping{err: errors.New(name), expiry: now.Add(time.Duration(i) * time.Second)})
		if n := c.Bytes(); n > mappingCacheBytes {
			t.Fatalf("%d bytes after %d outcomes", n, i+1)
		}
	}
	if _, ok := c.Get(key(999)); !ok {
		t.Error("the last outcome is forgotten")
	}
	if _, ok := c.Get(key(0)); ok {
		t.Error("the first is still there")
	}
	add(key(1000), mapping{err: errors.New(strings.Repeat("a", mappingCacheBytes))})
	if _, ok := c.Get(key(1000)); ok {
		t.Error("one that is larger than all may be is kept")
	}
	a := Authenticator{cache: token.NewCache[user.Info](token.CacheBytes, nil), mappings: c}
	a.Sweep(now.Add(999 * time.Second))
	if c.Bytes() != 0 || c.Len() != 0 {
		t.Errorf("%d bytes of %d outcomes are left of expired tokens", c.Bytes(), c.Len())
	}
}

// TestOwnersMappingCachesAreBounded: an owner may have any number of configurations, and all of
// them together remember a bounded number of outcomes, until they are closed.
func TestOwnersMappingCachesAreBounded(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	b := NewBuilder(Config{Issuers: tokentest.RunPool(t, issuer.Config{}), Clock: clock.RealClock{}, Limited: true, Name: entryAt})
	var built []*Configuration
	bytes := 0
	for i := range 2 * ownersMappingBytes / mappingCacheBytes {
		spec, err := ParseSpec([]byte(tokentest.SpecFor(s)))
		if err != nil {
			t.Fatal(err)
		}
		c, err := b.Build("c1", strconv.Itoa(i), spec)
		if err != nil {
			t.Fatal(err)
		}
		built = append(built, c)
		outcomes := c.Authenticators[0].mappings
		for n := range 10 {
			outcomes.Add(token.Digest{byte(n)}, mapping{}, mappingCacheBytes/10)
		}
		bytes += outcomes.Bytes()
	}
	if bytes > ownersMappingBytes || bytes < ownersMappingBytes/2 {
		t.Errorf("%d configurations of an owner remember %d bytes of outcomes, want at most %d", len(built), bytes, ownersMappingBytes)
	}
	for _, c := range built {
		c.Close()
	}
	if n := b.mappings.Used(); n != 0 {
		t.Errorf("%d bytes are counted for nobody", n)
	}
}

func TestNestingOfClaims(t *testing.T) {
	for payload, ok := range map[string]bool{
		`{"a":"[[[["}`: true,
		`{"a":` + nest("[", "1", "]", maxNesting-1) + `}`:                      true,
		`{"a":` + nest("[", "1", "]", maxNesting) + `}`:                        false,
		`{"a":"\"` + strings.Repeat("[", 100) + `"}`:                           true,
		`{"a":"\\",` + `"b":` + nest(`{"x":`, "1", "}", maxNesting) + `}`:      false,
		`{"a":[` + strings.TrimSuffix(strings.Repeat("[],", 1000), ",") + `]}`: true,
	} {
		if err := checkNesting([]byte(payload)); (err == nil) != ok {
			t.Errorf("%.60s: %v", payload, err)
		}
	}
}

// BenchmarkVerify is what a token costs that was not seen before, but for its
// signature.
func BenchmarkVerify(b *testing.B) {
	s := issuertest.Serve(b, issuertest.Options{})
	pool := tokentest.RunPool(b, issuer.Config{})
	plain := []func(tokentest.Object){tokentest.With(tokentest.Object{"claim": "groups", "prefix": "oidc:"}, "claimMappings", "groups")}
	cel := []func(tokentest.Object){
		tokentest.With(tokentest.Object{"expression": "'oidc:' + claims.sub"}, "claimMappings", "username"),
		tokentest.With(tokentest.Object{"expression": "dyn(claims.groups).map(g, 'oidc:' + g)"}, "claimMappings", "groups"),
		tokentest.With([]tokentest.Object{{"expression": "claims.email_verified == true", "message": "m"}}, "claimValidationRules"),
		tokentest.With([]tokentest.Object{{"expression": "!user.username.startsWith('system:')", "message": "m"}}, "userValidationRules"),
	}
	for name, edits := range map[string][]func(tokentest.Object){"plain": plain, "CEL": cel, "CEL, remembered": cel} {
		b.Run(name, func(b *testing.B) {
			m := mustBuild(b, Config{Issuers: pool, Clock: clocktesting.NewFakeClock(time.Now())}, tokentest.SpecFor(s, edits...))
			var groups []string
			for i := range 20 {
				groups = append(groups, fmt.Sprintf("team-%d-developers", i))
			}
			signed := s.Sign(issuertest.Claims{"sub": "alice", "aud": "app", "email_verified": true, "groups": groups})
			claims, err := m.verify(context.Background(), signed, m.clock.Now())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if name == "CEL" {
					m.mappings = bytecache.New[token.Digest, mapping](mappingCacheBytes, nil)
				}
				if _, err := m.evaluate(context.Background(), signed, claims); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
