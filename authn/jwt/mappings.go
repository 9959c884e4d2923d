package jwt

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/identity"
	"frontproxy/authn/token"
)

const (
	// mappingCacheBytes bounds what one configuration's entry remembers of its
	// expressions' outcomes.
	mappingCacheBytes = 256 << 10
	// mappingBytes is what an outcome takes beside its text.
	mappingBytes = 256
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
	mu      sync.Mutex
	entries *simplelru.LRU[token.Digest, mapping]
	bytes   int
}

func (c *mappingCache) get(key token.Digest) (mapping, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		return mapping{}, false
	}
	return c.entries.Get(key)
}

func (c *mappingCache) add(key token.Digest, m mapping) {
	size := m.size()
	if size > mappingCacheBytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil { // made at first use: most configurations rest
		entries, err := simplelru.NewLRU(mappingCacheBytes/mappingBytes, func(_ token.Digest, gone mapping) { c.bytes -= gone.size() })
		if err != nil {
			return // only for a size below one
		}
		c.entries = entries
	}
	c.entries.Remove(key) // two may have evaluated it at once
	for c.bytes+size > mappingCacheBytes {
		c.entries.RemoveOldest()
	}
	c.bytes += size
	c.entries.Add(key, m)
}

// sweep drops outcomes for tokens that have expired.
func (c *mappingCache) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		return
	}
	for _, key := range c.entries.Keys() {
		if m, ok := c.entries.Peek(key); ok && !now.Before(m.expiry) {
			c.entries.Remove(key)
		}
	}
}

func (m mapping) size() int {
	n := mappingBytes
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
