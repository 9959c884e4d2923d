package jwks

import (
	"crypto/sha256"
	"encoding/json"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/time/rate"
)

const (
	// RefetchEvery is the minimum average interval between key fetches for tokens
	// with unknown keys.
	RefetchEvery = 10 * time.Second
	// RefetchBurst is how many such fetches may follow each other at once: a key that
	// is used as soon as it is published must not wait because of other tokens.
	RefetchBurst = 4

	// maxUndecided is how many key IDs are remembered of tokens without an issue
	// time.
	maxUndecided = 64
	// maxAhead is how far an issuer's clock may be ahead for its iat to be used.
	maxAhead = 10 * time.Second
)

// Refetch decides about tokens whose key is not in a key set: whether the set must be
// fetched again for them, and whether it may be now. Anybody can make up key IDs, so
// fetches are limited by RefetchEvery and RefetchBurst. Use NewRefetch, not the zero
// value. Safe for concurrent use.
type Refetch struct {
	mu      sync.Mutex // guards what follows
	limiter *rate.Limiter
	read    time.Time // when the last successful fetch began; zero: none
	// undecided is when each ID was first asked for since it was last decided.
	undecided map[[sha256.Size]byte]time.Time
}

// NewRefetch is for a key set that was never fetched.
func NewRefetch() *Refetch {
	return &Refetch{limiter: rate.NewLimiter(rate.Every(RefetchEvery), RefetchBurst)}
}

// Read records a successful fetch that began at the given time.
func (r *Refetch) Read(began time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if began.After(r.read) {
		r.read = began
	}
}

// Decided reports whether the set has no key for the token, so that no further fetch
// can help: the set was fetched after the token was issued or, for a token without an
// issue time, after its key ID was first asked for. Tokens without an issue time
// cannot be told apart; if there are too many different IDs at once, the rest count
// as decided. A zero issued means that the token has no issue time.
func (r *Refetch) Decided(id string, issued, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !issued.IsZero() && !issued.After(now.Add(maxAhead)) {
		return !issued.Add(time.Second).After(r.read) // iat has whole seconds
	}
	key := sha256.Sum256([]byte(id))
	if asked, ok := r.undecided[key]; ok {
		return asked.Before(r.read)
	}
	if len(r.undecided) >= maxUndecided && !r.forgetOldest() {
		return true
	}
	if r.undecided == nil {
		r.undecided = map[[sha256.Size]byte]time.Time{}
	}
	r.undecided[key] = now
	return false
}

// forgetOldest makes room for another ID; false if none is decided yet. The caller
// holds mu.
func (r *Refetch) forgetOldest() bool {
	var oldest [sha256.Size]byte
	first := r.read
	for key, asked := range r.undecided {
		if asked.Before(first) {
			oldest, first = key, asked
		}
	}
	if first.Equal(r.read) {
		return false
	}
	delete(r.undecided, oldest)
	return true
}

// IssuedAt returns the issue time that an unverified token claims; zero if it has
// none. A false claim harms only the token's own user.
func IssuedAt(jws *jose.JSONWebSignature) time.Time {
	var claims struct {
		IssuedAt *float64 `json:"iat"`
	}
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims); err != nil || claims.IssuedAt == nil || *claims.IssuedAt <= 0 || *claims.IssuedAt > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(*claims.IssuedAt), 0)
}

// Allow uses up one fetch, if one is available. Tokens that are decided (not
// undecided) leave the burst to others: for them there is only an occasional fetch,
// in case an issuer's clock is behind.
func (r *Refetch) Allow(now time.Time, undecided bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !undecided && r.limiter.TokensAt(now) < RefetchBurst {
		return false
	}
	return r.limiter.AllowN(now, 1)
}
