package serviceaccount

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"time"

	"frontproxy/internal/bytecache"
)

const (
	// maxVerified bounds what is remembered of verified tokens, in bytes: some 8,000
	// of usual accounts.
	maxVerified = 8 << 20
	// verifiedFor is how long.
	verifiedFor = 10 * time.Second
)

// verified remembers tokens whose signature and claims were good. It is keyed
// by an HMAC, so that it holds no token and a look-up's time tells nothing of
// one.
type verified struct {
	secret [32]byte
	tokens *bytecache.Cache[[sha256.Size]byte, verifiedToken]
}

type verifiedToken struct {
	account *account
	// until is when to check it again.
	until      time.Time
	generation uint64 // of the keys
}

func newVerified() (*verified, error) {
	v := new(verified)
	if _, err := rand.Read(v.secret[:]); err != nil {
		return nil, err
	}
	v.tokens = bytecache.New[[sha256.Size]byte, verifiedToken](maxVerified, nil)
	return v, nil
}

// digest is the key of a token.
func (v *verified) digest(raw string) (d [sha256.Size]byte) {
	mac := hmac.New(sha256.New, v.secret[:])
	mac.Write([]byte(raw))
	mac.Sum(d[:0])
	return d
}

// get returns nil when the token has to be checked.
func (v *verified) get(digest [sha256.Size]byte, generation uint64, now time.Time) *account {
	t, ok := v.tokens.Get(digest)
	if !ok || t.generation != generation || !now.Before(t.until) {
		return nil
	}
	return t.account
}

func (v *verified) add(digest [sha256.Size]byte, generation uint64, now time.Time, a *account) {
	until := now.Add(verifiedFor)
	if !a.until.IsZero() && a.until.Before(until) {
		until = a.until
	}
	v.tokens.Add(digest, verifiedToken{a, until, generation}, a.bytes())
}
