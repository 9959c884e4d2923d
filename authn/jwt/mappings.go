package jwt

import (
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/identity"
	"frontproxy/authn/token"
	"frontproxy/internal/bytecache"
)

const (
	// mappingCacheBytes bounds what one configuration's entry remembers of its
	// expressions' outcomes.
	mappingCacheBytes = 256 << 10
	// maxNesting is how deep claims may be nested where expressions read them.
	maxNesting = 64
)

// mapping is what a configuration's expressions made of a payload. Immutable; so
// is the user, which requests share.
type mapping struct {
	user   user.Info
	err    error
	expiry time.Time
}

// mappingCache remembers what expressions made of verified payloads, refusals
// included, for one entry of one generation of a configuration: a changed one has
// another authenticator. A payload's signature is verified before it is looked up
// here, so nothing is believed for being remembered. It is bounded by bytes; what
// was not used for longest goes first. The zero mappingCache is empty and ready.
type mappingCache struct {
	entries atomic.Pointer[bytecache.Cache[token.Digest, mapping]] // made at first use: most configurations rest
}

func (c *mappingCache) get(key token.Digest) (mapping, bool) {
	entries := c.entries.Load()
	if entries == nil {
		return mapping{}, false
	}
	return entries.Get(key)
}

func (c *mappingCache) add(key token.Digest, m mapping) {
	if c.entries.Load() == nil {
		c.entries.CompareAndSwap(nil, bytecache.New[token.Digest, mapping](mappingCacheBytes, nil))
	}
	c.entries.Load().Add(key, m, m.size())
}

// sweep drops outcomes for tokens that have expired.
func (c *mappingCache) sweep(now time.Time) {
	if entries := c.entries.Load(); entries != nil {
		entries.RemoveFunc(func(m mapping) bool { return !now.Before(m.expiry) })
	}
}

func (m mapping) size() (n int) {
	if m.user != nil {
		n += identity.KeptBytes(m.user)
	}
	if m.err != nil {
		n += len(m.err.Error())
	}
	return n
}

// checkNesting refuses claims that are nested so deep that decoding them takes a
// large stack. It reads valid JSON once.
func checkNesting(payload []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(payload); i++ {
		switch c := payload[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > maxNesting {
				return fmt.Errorf("the token's claims are nested more than %d deep, which expressions do not read", maxNesting)
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return nil
}
