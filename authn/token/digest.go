package token

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"hash"
	"sync"
)

// Digest represents a token in a cache, so that the cache contains nothing to log in
// with.
type Digest [sha256.Size]byte

// Digester makes digests under a key of its own, which nobody else knows: nobody can
// make a token that has another's digest.
type Digester struct {
	pool sync.Pool
}

type digestState struct {
	mac hash.Hash
	// part is as much of a token as mac gets at a time. It is cleared, so that no part of
	// a token stays here.
	part [512]byte
}

// NewDigester makes a key that nobody else knows.
func NewDigester() *Digester {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	return &Digester{pool: sync.Pool{New: func() any {
		return &digestState{mac: hmac.New(sha256.New, key)}
	}}}
}

// Digest returns the token's digest. It keeps nothing of raw.
func (d *Digester) Digest(raw string) (sum Digest) {
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
