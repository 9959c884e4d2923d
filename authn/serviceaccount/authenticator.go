package serviceaccount

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"k8s.io/apiserver/pkg/authentication/user"
)

// maxToken bounds the tokens that are looked into, in bytes.
const maxToken = 16 << 10

// Config of an Authenticator.
type Config struct {
	// Issuers are those of bound tokens (--service-account-issuer); at least one.
	Issuers []string
	// Audiences are --api-audiences; empty means Issuers.
	Audiences []string
	// Keys vouch for tokens; required.
	Keys Keys
	// Home is asked whether the account and the Secret still exist
	// (--service-account-lookup); nil: nobody is asked.
	Home Home
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Authenticator judges service account tokens. Safe for concurrent use.
type Authenticator struct {
	issuers, audiences []string
	keys               Keys
	home               Home
	now                func() time.Time
	verified           *verified
}

// New does no I/O.
func New(c Config) (*Authenticator, error) {
	switch {
	case len(c.Issuers) == 0:
		return nil, errors.New("service accounts: no --service-account-issuer")
	case slices.Contains(c.Issuers, ""):
		return nil, errors.New("service accounts: --service-account-issuer is empty")
	case c.Keys == nil:
		return nil, errors.New("service accounts: no keys")
	}
	a := &Authenticator{issuers: c.Issuers, audiences: c.Audiences, keys: c.Keys, home: c.Home, now: c.Now}
	if len(a.audiences) == 0 {
		a.audiences = c.Issuers
	}
	if a.now == nil {
		a.now = time.Now
	}
	var err error
	a.verified, err = newVerified()
	return a, err
}

// Issues says whether tokens of the issuer are judged here at all.
func (a *Authenticator) Issues(issuer string) bool {
	return issuer == LegacyIssuer || slices.Contains(a.issuers, issuer)
}

// Authenticate judges a token of one of the issuers. It returns the identity,
// shared and not to be modified, with its home cluster and scope in the extras,
// and when the token ends (zero: never). The error is a *Refusal, or wraps
// ErrUndecided; it never holds the token.
func (a *Authenticator) Authenticate(ctx context.Context, raw string) (user.Info, time.Time, error) {
	account, err := a.verify(raw)
	if err != nil {
		return nil, time.Time{}, err
	}
	if a.home != nil {
		if err := lookUp(ctx, a.home, account, raw); err != nil {
			return nil, time.Time{}, err
		}
	}
	return account.info, account.until, nil
}

// verify checks signature and claims, or remembers that it has.
func (a *Authenticator) verify(raw string) (*account, error) {
	if len(raw) > maxToken {
		return nil, refuse(Malformed, "the token has %d bytes, at most %d are taken", len(raw), maxToken)
	}
	now, generation, digest := a.now(), a.keys.Generation(), a.verified.digest(raw)
	if known := a.verified.get(digest, generation, now); known != nil {
		return known, nil
	}
	payload, err := a.open(raw)
	if err != nil {
		return nil, err
	}
	account, err := expected{a.issuers, a.audiences, now}.judge(payload)
	if err != nil {
		return nil, err
	}
	a.verified.add(digest, generation, now, account)
	return account, nil
}

// open checks the signature and returns the payload.
func (a *Authenticator) open(raw string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil {
		// The cause may quote the token's header.
		return nil, refuse(Malformed, "the token is malformed, or is not signed with one of %q", algorithms)
	}
	header := jws.Signatures[0].Protected
	keys := a.keys.Keys(header.KeyID)
	if len(keys) == 0 {
		return nil, refuse(UnknownKey, "no service account key has the id %q; is the shard's key among --service-account-key-file?", clip(header.KeyID))
	}
	for _, key := range keys {
		if key.algorithm() != header.Algorithm {
			continue
		}
		if payload, err := jws.Verify(key.Public); err == nil {
			return payload, nil
		}
	}
	if header.KeyID == "" {
		return nil, refuse(Signature, "none of %d service account keys verifies the signature (%s)", len(keys), header.Algorithm)
	}
	return nil, refuse(Signature, "service account key %q does not verify the signature (%s)", clip(header.KeyID), header.Algorithm)
}
