package authn

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"hash"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Bounds of a token cache.
const (
	// cacheTokens is how many tokens a configuration's cache holds.
	cacheTokens = 1024
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
// verified under. The zero tokenCache is empty and ready.
type tokenCache struct {
	tokens atomic.Pointer[lru.Cache[digest, cachedToken]]
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

func (c *tokenCache) add(key digest, u user.Info, expiry, now time.Time, generation uint64) {
	tokens := c.tokens.Load()
	if tokens == nil { // made at first use: most configurations rest
		fresh, err := lru.New[digest, cachedToken](cacheTokens)
		if err != nil {
			return // only for a size below one
		}
		c.tokens.CompareAndSwap(nil, fresh)
		tokens = c.tokens.Load()
	}
	ends := now.Add(cacheLife)
	if expiry.Before(ends) {
		ends = expiry
	}
	tokens.Add(key, cachedToken{user: u, expiry: expiry, ends: ends, generation: generation})
}

// sweep drops what has ended, which else would stay until the room is needed.
func (c *tokenCache) sweep(now time.Time) {
	tokens := c.tokens.Load()
	if tokens == nil {
		return
	}
	for _, key := range tokens.Keys() {
		if e, ok := tokens.Peek(key); ok && !now.Before(e.ends) {
			tokens.Remove(key)
		}
	}
}

func (c *tokenCache) len() int {
	if tokens := c.tokens.Load(); tokens != nil {
		return tokens.Len()
	}
	return 0
}
