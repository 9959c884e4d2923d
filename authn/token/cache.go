package token

import (
	"time"

	"frontproxy/internal/bytecache"
)

// Bounds of the caches of configurations.
const (
	// CacheBytes bounds what an issuer of a configuration has in its cache, in bytes:
	// some 6,000 tokens of usual users, or 50 of those with the most groups there
	// may be. ownersCacheBytes bounds all caches of a logical cluster's configurations
	// together, and allCacheBytes those of all clusters; beyond that, each of these
	// still has cacheFloor.
	CacheBytes       = 4 << 20
	ownersCacheBytes = 8 << 20
	allCacheBytes    = 128 << 20
	cacheFloor       = 256 << 10
	// CacheLife is how long a verified token is believed without another look.
	CacheLife = 10 * time.Second
)

// Cache remembers what one authenticator read of tokens that it verified and found good,
// before guard and scope. It holds no refusals. An entry ends with the token, after
// CacheLife, or with the key generation it was verified under. Safe for concurrent use.
type Cache[V any] struct {
	tokens *bytecache.Cache[Digest, cachedToken[V]]
}

// cachedToken is immutable; so is the value, which requests share.
type cachedToken[V any] struct {
	value        V
	expiry, ends time.Time
	generation   uint64
}

// NewCache returns a cache of at most this many bytes, which also count against budget; a nil
// budget adds no limit.
func NewCache[V any](most int, budget *bytecache.Budget) Cache[V] {
	return Cache[V]{bytecache.New[Digest, cachedToken[V]](most, budget)}
}

// Get returns the value of a token, and when that expires; false: the token has to be judged.
// generation is the present one of the keys.
func (c Cache[V]) Get(key Digest, now time.Time, generation uint64) (value V, expiry time.Time, ok bool) {
	t, ok := c.tokens.Get(key)
	if ok && (t.generation != generation || !now.Before(t.ends)) {
		c.tokens.Remove(key)
		return value, time.Time{}, false
	}
	return t.value, t.expiry, ok
}

// Add remembers a token that was found good and expires at expiry (zero: never). bytes is
// the size of the value.
func (c Cache[V]) Add(key Digest, value V, expiry, now time.Time, generation uint64, bytes int) {
	ends := now.Add(CacheLife)
	if !expiry.IsZero() && expiry.Before(ends) {
		ends = expiry
	}
	c.tokens.Add(key, cachedToken[V]{value, expiry, ends, generation}, bytes)
}

// Sweep drops what has ended, which else would stay until its space is needed.
func (c Cache[V]) Sweep(now time.Time) {
	c.tokens.RemoveFunc(func(t cachedToken[V]) bool { return !now.Before(t.ends) })
}

// Close forgets all, for good.
func (c Cache[V]) Close() { c.tokens.Close() }

// Len is how many tokens are remembered.
func (c Cache[V]) Len() int { return c.tokens.Len() }
