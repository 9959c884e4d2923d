package authn

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/issuer"
	"frontproxy/authn/issuer/issuertest"
	"frontproxy/internal/jwks"
)

func TestTokenCache(t *testing.T) {
	now := time.Now()
	alice := &user.DefaultInfo{Name: "alice"}
	var key digest
	tests := []struct {
		name       string
		expiry     time.Duration // of the token
		after      time.Duration
		generation uint64
		hit        bool
	}{
		{"at once", time.Hour, 0, 1, true},
		{"just before its end", time.Hour, cacheLife - 1, 1, true},
		{"at its end", time.Hour, cacheLife, 1, false},
		{"just before the token's end", time.Second, time.Second - 1, 1, true},
		{"at the token's end", time.Second, time.Second, 1, false},
		{"other keys", time.Hour, 0, 2, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c tokenCache
			c.add(key, alice, now.Add(tt.expiry), now, 1)
			u, expiry, ok := c.get(key, now.Add(tt.after), tt.generation)
			if ok != tt.hit {
				t.Fatalf("hit %v, want %v", ok, tt.hit)
			}
			if ok && (u != user.Info(alice) || !expiry.Equal(now.Add(tt.expiry))) {
				t.Errorf("got %v until %s", u, expiry)
			}
			if diff := cmp.Diff(map[bool]int{true: 1, false: 0}[tt.hit], c.len()); diff != "" {
				t.Errorf("entries left (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTokenCacheIsBounded: by bytes, whatever the identities' sizes, for each
// cache, for all of an owner and for all owners.
func TestTokenCacheIsBounded(t *testing.T) {
	now := time.Now()
	d := newDigester()
	large := func(n int) user.Info {
		return &user.DefaultInfo{Name: fmt.Sprint(n), Groups: strings.Split(strings.Repeat(strings.Repeat("g", 60)+",", 1024), ",")}
	}
	fill := func(c *tokenCache, n int) {
		for i := range n {
			c.add(d.digest(fmt.Sprint(i)), large(i), now.Add(time.Hour), now, 1)
		}
	}
	var alone tokenCache
	fill(&alone, 200)
	if got := alone.tokens.Load().Bytes(); got > cacheBytes || alone.len() < 40 {
		t.Errorf("one cache: %d identities of %d bytes together", alone.len(), got)
	}
	alone.sweep(now.Add(cacheLife))
	if diff := cmp.Diff(0, alone.len()); diff != "" {
		t.Errorf("entries after their end (-want +got):\n%s", diff)
	}

	all := newOwnersCaches()
	caches := func(owner string, n int) (caches []*tokenCache, release []func()) {
		for range n {
			b, r := all.acquire(owner)
			c := &tokenCache{budget: b}
			caches, release = append(caches, c), append(release, func() { c.close(); r() })
		}
		return caches, release
	}
	mine, release := caches("owner", 4)
	owners := 0
	for _, c := range mine {
		fill(c, 100)
		owners += c.tokens.Load().Bytes()
	}
	if owners > ownersCacheBytes {
		t.Errorf("the caches of one owner have %d bytes, want at most %d", owners, ownersCacheBytes)
	}
	for n := range 40 {
		others, _ := caches(fmt.Sprint("other-", n), 1)
		fill(others[0], 100)
		if others[0].len() == 0 {
			t.Errorf("owner %d has nothing in its cache", n)
		}
	}
	if used := all.total.Used(); used > allCacheBytes+41*cacheFloor {
		t.Errorf("all caches have %d bytes", used)
	}
	before := all.total.Used()
	for _, r := range release {
		r()
	}
	if got := before - all.total.Used(); got != owners || len(all.owners) != 40 {
		t.Errorf("what is released: %d bytes of %d; %d owners left", got, owners, len(all.owners))
	}
	fill(mine[0], 10)
	if mine[0].len() != 0 {
		t.Error("a cache that was closed keeps tokens")
	}
}

func TestDigester(t *testing.T) {
	d := newDigester()
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := range 1000 {
				one, again, other := d.digest(fmt.Sprint(n)), d.digest(fmt.Sprint(n)), d.digest(fmt.Sprint(n+1))
				if one != again || one == other {
					t.Error("digests are mixed up")
				}
			}
		}()
	}
	wg.Wait()
	if d.digest("a") == newDigester().digest("a") {
		t.Error("two processes would make the same digest")
	}
}

// A token found good is not looked at again for a while; one that was refused
// is; and the keys' change ends what was verified under the old ones.
func TestVerifiedTokensAreCached(t *testing.T) {
	s := serveIssuer(t, issuertest.Options{})
	clock := clocktesting.NewFakeClock(time.Now())
	pool := runPool(t, issuer.Config{Clock: clock})
	m := mustBuild(t, TypeIndexConfig{Issuers: pool, Clock: clock}, specFor(s))
	<-m.issuer.Ready()
	ask := func(raw string) (user.Info, error) {
		u, _, err := m.AuthenticateToken(context.Background(), ParseToken(raw))
		return u, err
	}
	good := s.Sign(issuertest.Claims{"sub": "alice", "aud": "app"})
	first, err := ask(good)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ask(good); err != nil || again != first {
		t.Errorf("not the same identity again: %v, %v", again, err)
	}
	clock.Step(cacheLife)
	if later, err := ask(good); err != nil || later == first {
		t.Errorf("still the same identity after %s: %v", cacheLife, err)
	}
	forged := good[:len(good)-6] + strings.Map(func(r rune) rune {
		if r == 'A' {
			return 'B'
		}
		return 'A'
	}, good[len(good)-6:])
	for range 2 {
		if _, err := ask(forged); err == nil {
			t.Fatal("a forged token is accepted")
		}
	}
	if diff := cmp.Diff(1, m.cache.len()); diff != "" {
		t.Errorf("cached (-want +got):\n%s", diff)
	}

	// The issuer withdraws the key: another token with an unknown kid makes the
	// keys be read, and the cached one is worth nothing from then on.
	s.Rotate()
	clock.Step(jwks.RefetchEvery - time.Second)
	if _, err := ask(good); err != nil {
		t.Fatalf("before the keys are read: %v", err)
	}
	clock.Step(time.Second)
	if _, err := ask(s.Sign(issuertest.Claims{"sub": "bob", "aud": "app"})); err != nil {
		t.Fatalf("new key: %v", err)
	}
	if _, err := ask(good); err == nil {
		t.Error("a token of the withdrawn key is accepted")
	}
}

func BenchmarkCachedToken(b *testing.B) {
	s := serveIssuer(b, issuertest.Options{})
	m := mustBuild(b, TypeIndexConfig{}, specFor(s))
	groups := make([]string, 30)
	for i := range groups {
		groups[i] = fmt.Sprintf("group-%d", i)
	}
	token := ParseToken(s.Sign(issuertest.Claims{"sub": "alice", "aud": "app", "groups": groups}))
	ctx := context.Background()
	<-m.issuer.Ready()
	for range 2 {
		if _, _, err := m.AuthenticateToken(ctx, token); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if u, _, err := m.AuthenticateToken(ctx, token); err != nil || u == nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFreshToken(b *testing.B) {
	s := serveIssuer(b, issuertest.Options{})
	for name, forged := range map[string]bool{"good": false, "forged": true} {
		b.Run(name, func(b *testing.B) {
			m := mustBuild(b, TypeIndexConfig{}, specFor(s))
			raw := s.Sign(issuertest.Claims{"sub": "alice", "aud": "app"})
			if forged {
				raw = raw[:len(raw)-8] + "AAAAAAAA"
			}
			token, ctx := ParseToken(raw), context.Background()
			<-m.issuer.Ready()
			b.ReportAllocs()
			for b.Loop() {
				m.cache.sweep(time.Now().Add(cacheLife))
				if _, _, err := m.AuthenticateToken(ctx, token); err != nil != forged {
					b.Fatal(err)
				}
			}
		})
	}
}
