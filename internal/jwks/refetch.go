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
	// RefetchEvery is how often, at most and in the long run, tokens with unknown
	// keys make a key set be read.
	RefetchEvery = 10 * time.Second
	// RefetchBurst is how many such readings may follow each other at once: a key
	// that is used as soon as it is published must not wait for others' tokens.
	RefetchBurst = 4

	// maxUndecided is how many key ids are remembered of tokens that do not say when
	// they were issued.
	maxUndecided = 64
	// maxAhead is how far an issuer's clock may be ahead for its iat to be used.
	maxAhead = 10 * time.Second
)

// Refetch decides about tokens whose key is not in a key set: whether the set
// must be read again for them, and whether it may be now. Anybody can make up key
// ids, so readings are bounded by RefetchEvery and RefetchBurst. The zero value
// is not ready; see NewRefetch. Safe for concurrent use.
type Refetch struct {
	mu      sync.Mutex // guards what follows
	limiter *rate.Limiter
	read    time.Time // when the last good reading began; zero: none
	// undecided is when ids were first asked for since they were last decided.
	undecided map[[sha256.Size]byte]time.Time
}

// NewRefetch is for one key set that was never read.
func NewRefetch() *Refetch {
	return &Refetch{limiter: rate.NewLimiter(rate.Every(RefetchEvery), RefetchBurst)}
}

// Read notes that a reading that began at the given time was good.
func (r *Refetch) Read(began time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if began.After(r.read) {
		r.read = began
	}
}

// Decided says that the set has no key for the token, whatever another reading
// would bring: it was read after the token was issued, or, where the token does
// not say when that was, after its key id was first asked for. Then such tokens
// cannot be told from one another, and of too many at once the rest are decided.
// A zero issued means that the token does not say.
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

// forgetOldest makes room for another id; false when none is decided yet. The
// caller holds mu.
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

// IssuedAt is the time that a token, not verified yet, says it was issued at;
// zero when it says none. Whoever lies harms their own token only.
func IssuedAt(jws *jose.JSONWebSignature) time.Time {
	var claims struct {
		IssuedAt *float64 `json:"iat"`
	}
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims); err != nil || claims.IssuedAt == nil || *claims.IssuedAt <= 0 || *claims.IssuedAt > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(*claims.IssuedAt), 0)
}

// Allow takes the place of one reading, if there is one. Tokens that are decided
// (not undecided) leave the burst to others: theirs is a reading only now and then,
// in case an issuer's clock is behind.
func (r *Refetch) Allow(now time.Time, undecided bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !undecided && r.limiter.TokensAt(now) < RefetchBurst {
		return false
	}
	return r.limiter.AllowN(now, 1)
}
