package token

import (
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/identity"
	"frontproxy/internal/bytecache"
)

// Bounds of a token cache.
const (
	// cacheBytes bounds what an issuer of a configuration has in its cache, in bytes:
	// some 6,000 tokens of usual users, or 50 of those with the most groups there
	// may be. ownersCacheBytes bounds all caches of a logical cluster's configurations
	// together, and allCacheBytes those of all clusters; beyond that, each of these
	// still has cacheFloor.
	cacheBytes       = 4 << 20
	ownersCacheBytes = 8 << 20
	allCacheBytes    = 128 << 20
	cacheFloor       = 256 << 10
	// CacheLife is how long a verified token is believed without another look.
	CacheLife = 10 * time.Second
)

// Cache remembers the identities of tokens that were verified and found
// good by one authenticator, before guard and scope. It holds no refusals. An
// entry ends with the token, after CacheLife, or with the key generation it was
// verified under. The zero Cache is empty and ready, and has no owner.
type Cache struct {
	// Budget is the owner's budget; nil means no limit.
	Budget *bytecache.Budget

	tokens atomic.Pointer[bytecache.Cache[Digest, cachedToken]]
}

// cachedToken is immutable; so is the identity, which requests share.
type cachedToken struct {
	user       user.Info
	expiry     time.Time
	ends       time.Time
	generation uint64
}

// Get returns the identity of a token and when that ends; false: it has to be
// judged. Generation is that of the keys.
func (c *Cache) Get(key Digest, now time.Time, generation uint64) (user.Info, time.Time, bool) {
	tokens := c.tokens.Load()
	if tokens == nil {
		return nil, time.Time{}, false
	}
	e, ok := tokens.Get(key)
	if !ok {
		return nil, time.Time{}, false
	}
	if e.generation != generation || !now.Before(e.ends) {
		tokens.Remove(key)
		return nil, time.Time{}, false
	}
	return e.user, e.expiry, true
}

// made is the cache, which is made at first use: most configurations rest.
func (c *Cache) made() *bytecache.Cache[Digest, cachedToken] {
	if c.tokens.Load() == nil {
		c.tokens.CompareAndSwap(nil, bytecache.New[Digest, cachedToken](cacheBytes, c.Budget))
	}
	return c.tokens.Load()
}

// Add remembers a token that was found good.
func (c *Cache) Add(key Digest, u user.Info, expiry, now time.Time, generation uint64) {
	ends := now.Add(CacheLife)
	if expiry.Before(ends) {
		ends = expiry
	}
	c.made().Add(key, cachedToken{user: u, expiry: expiry, ends: ends, generation: generation}, identity.KeptBytes(u))
}

// Sweep drops what has ended, which else would stay until the room is needed.
func (c *Cache) Sweep(now time.Time) {
	if tokens := c.tokens.Load(); tokens != nil {
		tokens.RemoveFunc(func(t cachedToken) bool { return !now.Before(t.ends) })
	}
}

// Close forgets all, for good.
func (c *Cache) Close() { c.made().Close() }

// Len is how many tokens are remembered.
func (c *Cache) Len() int {
	if tokens := c.tokens.Load(); tokens != nil {
		return tokens.Len()
	}
	return 0
}
