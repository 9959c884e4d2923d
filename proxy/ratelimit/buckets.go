package ratelimit

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

const (
	// How many buckets of each kind are kept. One takes some 200 bytes, whatever the
	// length of its key, so all take 30 MB at most.
	maxWorkspaces, maxIdentities, maxAddresses = 1 << 14, 1 << 16, 1 << 16
	// maxKeys is how many buckets a PerKey has; these take 1 MB at most.
	maxKeys = 1 << 12
	// parts is how many caches there are for each kind, so that requests seldom wait for
	// each other. The first bits of a key choose one.
	parts, partBits = 1 << 6, 6
)

// buckets holds the buckets of one kind. A nil *buckets limits nothing.
type buckets struct {
	rate  Rate
	parts [parts]part
}

// part has the buckets of some keys.
type part struct {
	mu  sync.Mutex // guards the cache and every bucket in it
	lru *simplelru.LRU[uint64, bucket]
}

// bucket is the token bucket of one key.
type bucket struct {
	tokens *rate.Limiter
	// reported is when a refusal by this bucket was last to be logged, as the time since
	// the Limiter was made; 0: never.
	reported time.Duration
}

// newBuckets returns nil for the zero rate.
func newBuckets(r Rate, most int) *buckets {
	if r.PerSecond <= 0 {
		return nil
	}
	b := &buckets{rate: r}
	for n := range b.parts {
		b.parts[n].lru, _ = simplelru.NewLRU[uint64, bucket](most/parts, nil) // fails only for a size below one
	}
	return b
}

// lock returns the part for a key, locked.
func (b *buckets) lock(key uint64) *part {
	p := &b.parts[key>>(64-partBits)]
	p.mu.Lock()
	return p
}

// bucket returns the one for the key, of the part that is locked.
func (b *buckets) bucket(p *part, key uint64) bucket {
	if found, ok := p.lru.Get(key); ok {
		return found
	}
	made := bucket{tokens: rate.NewLimiter(rate.Limit(b.rate.PerSecond), b.rate.Burst)}
	p.lru.Add(key, made)
	return made
}

// wait is how long it takes until the bucket has a token; 0: it has one.
func (b *buckets) wait(of bucket, now time.Time) time.Duration {
	missing := 1 - of.tokens.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return max(time.Duration(missing/b.rate.PerSecond*float64(time.Second)), 1)
}
