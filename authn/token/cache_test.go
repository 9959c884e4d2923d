package token

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/identity"
)

func TestTokenCache(t *testing.T) {
	now := time.Now()
	alice := &user.DefaultInfo{Name: "alice"}
	var key Digest
	tests := []struct {
		name       string
		expiry     time.Duration // of the token
		after      time.Duration
		generation uint64
		hit        bool
	}{
		{"at once", time.Hour, 0, 1, true},
		{"just before its end", time.Hour, CacheLife - 1, 1, true},
		{"at its end", time.Hour, CacheLife, 1, false},
		{"just before the token's end", time.Second, time.Second - 1, 1, true},
		{"at the token's end", time.Second, time.Second, 1, false},
		{"other keys", time.Hour, 0, 2, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := NewCache[user.Info](CacheBytes, nil)
			c.Add(key, alice, now.Add(tt.expiry), now, 1, 0)
			u, expiry, ok := c.Get(key, now.Add(tt.after), tt.generation)
			if ok != tt.hit {
				t.Fatalf("hit %v, want %v", ok, tt.hit)
			}
			if ok && (u != user.Info(alice) || !expiry.Equal(now.Add(tt.expiry))) {
				t.Errorf("got %v until %s", u, expiry)
			}
			if diff := cmp.Diff(map[bool]int{true: 1, false: 0}[tt.hit], c.Len()); diff != "" {
				t.Errorf("entries left (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTokenCacheIsBounded: by bytes, whatever the identities' sizes, for each
// cache, for all of an owner and for all owners.
func TestTokenCacheIsBounded(t *testing.T) {
	now := time.Now()
	d := NewDigester()
	large := func(n int) user.Info {
		return &user.DefaultInfo{Name: fmt.Sprint(n), Groups: strings.Split(strings.Repeat(strings.Repeat("g", 60)+",", 1024), ",")}
	}
	fill := func(c Cache[user.Info], n int) {
		for i := range n {
			c.Add(d.Digest(fmt.Sprint(i)), large(i), now.Add(time.Hour), now, 1, identity.KeptBytes(large(i)))
		}
	}
	alone := NewCache[user.Info](CacheBytes, nil)
	fill(alone, 200)
	if got := alone.tokens.Bytes(); got > CacheBytes || alone.Len() < 40 {
		t.Errorf("one cache: %d identities of %d bytes together", alone.Len(), got)
	}
	alone.Sweep(now.Add(CacheLife))
	if diff := cmp.Diff(0, alone.Len()); diff != "" {
		t.Errorf("entries after their end (-want +got):\n%s", diff)
	}

	all := NewBudgets()
	caches := func(owner string, n int) (caches []Cache[user.Info], release []func()) {
		for range n {
			b, r := all.Acquire(owner)
			c := NewCache[user.Info](CacheBytes, b)
			caches, release = append(caches, c), append(release, func() { c.Close(); r() })
		}
		return caches, release
	}
	mine, release := caches("owner", 4)
	owners := 0
	for _, c := range mine {
		fill(c, 100)
		owners += c.tokens.Bytes()
	}
	if owners > ownersCacheBytes {
		t.Errorf("the caches of one owner have %d bytes, want at most %d", owners, ownersCacheBytes)
	}
	for n := range 40 {
		others, _ := caches(fmt.Sprint("other-", n), 1)
		fill(others[0], 100)
		if others[0].Len() == 0 {
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
	if mine[0].Len() != 0 {
		t.Error("a cache that was closed keeps tokens")
	}
}
