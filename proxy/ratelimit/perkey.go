package ratelimit

import (
	"hash/maphash"
	"time"
)

// PerKey limits what each logical cluster asks of the proxy itself. Safe for concurrent use.
type PerKey struct {
	buckets *buckets
	seed    maphash.Seed
	now     func() time.Time
}

// NewPerKey makes one that has a bucket of rate r for each key; r.PerSecond must be positive. now
// is the clock, which must not go back.
func NewPerKey(r Rate, now func() time.Time) *PerKey {
	return &PerKey{buckets: newBuckets(r, maxKeys), seed: maphash.MakeSeed(), now: now}
}

// Allow takes a token from the key's bucket. False: there was none.
func (k *PerKey) Allow(key string) bool {
	hash := maphash.String(k.seed, key)
	p := k.buckets.lock(hash)
	defer p.mu.Unlock()
	return k.buckets.bucket(p, hash).tokens.AllowN(k.now(), 1)
}
