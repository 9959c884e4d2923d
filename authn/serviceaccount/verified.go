package serviceaccount

import (
	"time"

	"frontproxy/authn/token"
	"frontproxy/internal/bytecache"
)

const (
	// maxVerified bounds what is remembered of verified tokens, in bytes: some 8,000
	// of usual accounts.
	maxVerified = 8 << 20
	// verifiedFor is how long.
	verifiedFor = 10 * time.Second
)

// verified remembers tokens whose signature and claims were good.
type verified struct {
	digester *token.Digester
	tokens   *bytecache.Cache[token.Digest, verifiedToken]
}

type verifiedToken struct {
	account *account
	// until is when to check it again.
	until      time.Time
	generation uint64 // of the keys
}

func newVerified() verified {
	return verified{token.NewDigester(), bytecache.New[token.Digest, verifiedToken](maxVerified, nil)}
}

// get returns nil when the token has to be checked.
func (v verified) get(digest token.Digest, generation uint64, now time.Time) *account {
	t, ok := v.tokens.Get(digest)
	if !ok || t.generation != generation || !now.Before(t.until) {
		return nil
	}
	return t.account
}

func (v verified) add(digest token.Digest, generation uint64, now time.Time, a *account) {
	until := now.Add(verifiedFor)
	if !a.until.IsZero() && a.until.Before(until) {
		until = a.until
	}
	v.tokens.Add(digest, verifiedToken{a, until, generation}, a.bytes())
}
