package authn

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"hash"
	"sync"
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
	// cacheLife is how long a verified token is believed without another look.
	cacheLife = 10 * time.Second
)

// digest stands for a token in a cache, which so holds nothing to log in with.
type digest [sha256.Size]byte

// digester makes digests under a key of its own, which nobody else knows: no
// token can be made to meet another's digest.
type digester struct {
	pool sync.Pool
}

type digestState struct {
	mac hash.Hash
	// part is what is given to mac at a time: of tokens, which may be a megabyte,
	// nothing is left here.
	part [512]byte
}

func newDigester() *digester {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	return &digester{pool: sync.Pool{New: func() any {
		return &digestState{mac: hmac.New(sha256.New, key)}
	}}}
}

func (d *digester) digest(raw string) (sum digest) {
	s := d.pool.Get().(*digestState)
	s.mac.Reset()
	for raw != "" {
		n := copy(s.part[:], raw)
		s.mac.Write(s.part[:n])
		raw = raw[n:]
	}
	clear(s.part[:])
	copy(sum[:], s.mac.Sum(s.part[:0]))
	d.pool.Put(s)
	return sum
}

// tokenCache remembers the identities of tokens that were verified and found
// good by one authenticator, before guard and scope. It holds no refusals. An
// entry ends with the token, after cacheLife, or with the key generation it was
// verified under. The zero tokenCache is empty and ready, and has no owner.
type tokenCache struct {
	budget *bytecache.Budget // its owner's; nil: there is no such bound
	tokens atomic.Pointer[bytecache.Cache[digest, cachedToken]]
}

// cachedToken is immutable; so is the identity, which requests share.
type cachedToken struct {
	user       user.Info
	expiry     time.Time
	ends       time.Time
	generation uint64
}

func (c *tokenCache) get(key digest, now time.Time, generation uint64) (user.Info, time.Time, bool) {
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
func (c *tokenCache) made() *bytecache.Cache[digest, cachedToken] {
	if c.tokens.Load() == nil {
		c.tokens.CompareAndSwap(nil, bytecache.New[digest, cachedToken](cacheBytes, c.budget))
	}
	return c.tokens.Load()
}

func (c *tokenCache) add(key digest, u user.Info, expiry, now time.Time, generation uint64) {
	ends := now.Add(cacheLife)
	if expiry.Before(ends) {
		ends = expiry
	}
	c.made().Add(key, cachedToken{user: u, expiry: expiry, ends: ends, generation: generation}, identity.KeptBytes(u))
}

// sweep drops what has ended, which else would stay until the room is needed.
func (c *tokenCache) sweep(now time.Time) {
	if tokens := c.tokens.Load(); tokens != nil {
		tokens.RemoveFunc(func(t cachedToken) bool { return !now.Before(t.ends) })
	}
}

// close forgets all, for good.
func (c *tokenCache) close() { c.made().Close() }

func (c *tokenCache) len() int {
	if tokens := c.tokens.Load(); tokens != nil {
		return tokens.Len()
	}
	return 0
}

// ownersCaches bounds the token caches of all configurations of each owner, and
// of all owners.
type ownersCaches struct {
	total *bytecache.Total

	mu     sync.Mutex // guards owners
	owners map[string]*ownersCache
}

type ownersCache struct {
	budget *bytecache.Budget
	users  int // configurations
}

func newOwnersCaches() *ownersCaches {
	return &ownersCaches{total: bytecache.NewTotal(allCacheBytes, cacheFloor), owners: map[string]*ownersCache{}}
}

// acquire returns the budget of an owner, for as long as until release.
func (o *ownersCaches) acquire(owner string) (budget *bytecache.Budget, release func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.owners[owner]
	if c == nil {
		c = &ownersCache{budget: o.total.Budget(ownersCacheBytes)}
		o.owners[owner] = c
	}
	c.users++
	return c.budget, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if c.users--; c.users == 0 {
			delete(o.owners, owner)
		}
	}
}
