package serviceaccount

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/token"
	"frontproxy/internal/clip"
)

const (
	// maxToken bounds the tokens that are looked into, in bytes.
	maxToken = 16 << 10
	// maxVerified bounds what is remembered of verified tokens, in bytes: some 8,000
	// of usual accounts.
	maxVerified = 8 << 20
)

// Config of an Authenticator.
type Config struct {
	// Issuers are those of bound tokens (--service-account-issuer); at least one.
	Issuers []string
	// Audiences are --api-audiences; empty means Issuers.
	Audiences []string
	// Keys verify the tokens of every account; nil: no key does.
	Keys Keys
	// FromShards verifies tokens with the shards' own keys, in addition to Keys; nil:
	// these are not trusted.
	FromShards *ShardKeyVerifier
	// Accounts knows whether the account and the Secret still exist
	// (--service-account-lookup); nil: they are not looked up.
	Accounts AccountGetter
	// Refused is called with the reason of every refusal, for a metric, except for
	// explanations and reviews; nil: they are not counted.
	Refused func(token.Reason)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Authenticator judges service account tokens. It implements token.AccountAuthenticator
// and token.RevocationChecker. Safe for concurrent use.
type Authenticator struct {
	config Config
	// digester and verified are for tokens whose signature and claims were good.
	digester *token.Digester
	verified token.Cache[*account]
}

// New does no I/O.
func New(c Config) (*Authenticator, error) {
	switch {
	case len(c.Issuers) == 0:
		return nil, errors.New("service accounts: no --service-account-issuer")
	case slices.Contains(c.Issuers, ""):
		return nil, errors.New("service accounts: --service-account-issuer is empty")
	case c.Keys == nil && c.FromShards == nil:
		return nil, errors.New("service accounts: no keys")
	case c.FromShards != nil && (c.FromShards.Keys == nil || c.FromShards.Placement == nil):
		return nil, errors.New("service accounts: keys from shards, and no keys or no placement")
	}
	if len(c.Audiences) == 0 {
		c.Audiences = c.Issuers
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Authenticator{config: c, digester: token.NewDigester(), verified: token.NewCache[*account](maxVerified, nil)}, nil
}

// Name implements token.Authenticator.
func (a *Authenticator) Name() string { return "service-accounts" }

// Accounts implements token.AccountAuthenticator.
func (a *Authenticator) Accounts() bool { return true }

// AuthenticateToken implements token.Authenticator. The identity has its home cluster
// and scope in the extras. An error is a *token.RefusalError, or wraps ErrUndecided.
func (a *Authenticator) AuthenticateToken(ctx context.Context, t token.Token) (user.Info, time.Time, error) {
	account, _, err := a.authenticate(ctx, t, a.config.Audiences)
	if account == nil {
		return nil, time.Time{}, err
	}
	return account.info, account.until, nil
}

// AuthenticateFor implements token.AudienceAuthenticator: a token without audiences is for
// the API's. Errors are those of AuthenticateToken.
func (a *Authenticator) AuthenticateFor(ctx context.Context, t token.Token, audiences []string) (user.Info, []string, error) {
	account, found, err := a.authenticate(ctx, t, audiences)
	if account == nil {
		return nil, nil, err
	}
	return account.info, found, nil
}

// CheckRevoked implements token.RevocationChecker: it returns nil when the token's key
// is still trusted, and its account and Secret still exist. Errors are those of
// AuthenticateToken.
func (a *Authenticator) CheckRevoked(ctx context.Context, t token.Token, until time.Time) (known bool, err error) {
	if !a.hasIssuer(t) {
		return false, nil
	}
	account, _, err := a.read(ctx, t.Raw, a.config.Audiences, until.Add(-time.Second))
	if err == nil {
		err = a.lookUp(ctx, account, t.Raw)
	}
	return true, a.counted(t, err)
}

// hasIssuer reports whether the token says that one of the issuers issued it.
func (a *Authenticator) hasIssuer(t token.Token) bool {
	return t.JWT && (t.Issuer == LegacyIssuer || slices.Contains(a.config.Issuers, t.Issuer))
}

// counted returns err, and counts it if it refuses the token.
func (a *Authenticator) counted(t token.Token, err error) error {
	var refusal *token.RefusalError
	if a.config.Refused != nil && errors.As(err, &refusal) && t.Purpose.Counted() {
		a.config.Refused(refusal.Reason)
	}
	return err
}

// authenticate returns the account of a token that is for any of the audiences, and the
// audiences that it is for. The account is nil with an error, and if another issuer issued the
// token.
func (a *Authenticator) authenticate(ctx context.Context, t token.Token, audiences []string) (*account, []string, error) {
	if !a.hasIssuer(t) {
		return nil, nil, nil
	}
	account, found, err := a.verify(ctx, t.Raw, audiences)
	if err == nil {
		err = a.lookUp(ctx, account, t.Raw)
	}
	if err != nil {
		return nil, nil, a.counted(t, err)
	}
	return account, found, nil
}

// checkAudiences returns those of the audiences that the account's token is for, at least one.
func (a *Authenticator) checkAudiences(account *account, audiences []string) ([]string, error) {
	has := account.audiences
	if len(has) == 0 {
		has = a.config.Audiences
	}
	found := token.Audiences(audiences, has)
	if len(found) == 0 {
		whose := "that the review asks for:"
		if slices.Equal(audiences, a.config.Audiences) {
			whose = "of --api-audiences"
		}
		return nil, token.Refuse(token.ReasonAudience, "audiences %s have none %s %s", clip.Quoted(has), whose, clip.Quoted(audiences))
	}
	return found, nil
}

// lookUp looks the account up at its home, if the configuration or its key demands that.
func (a *Authenticator) lookUp(ctx context.Context, account *account, raw string) error {
	switch {
	case a.config.Accounts != nil:
		return checkObjects(ctx, a.config.Accounts, account, raw)
	case account.provenance.moved:
		return checkObjects(ctx, a.config.FromShards.Accounts, account, raw)
	}
	return nil
}

// verify checks the signature and the claims, or finds the token among those that were
// verified before. The token is for those of the audiences that it returns.
func (a *Authenticator) verify(ctx context.Context, raw string, audiences []string) (*account, []string, error) {
	if len(raw) > maxToken {
		return nil, nil, token.Refuse(token.ReasonMalformed, "the token has %d bytes, at most %d are allowed", len(raw), maxToken)
	}
	now, generation, digest := a.config.Now(), a.generation(), a.digester.Digest(raw)
	if known, _, ok := a.verified.Get(digest, now, generation); ok && (a.config.FromShards == nil || a.config.FromShards.stillTrusts(known.provenance, known.home)) {
		found, err := a.checkAudiences(known, audiences)
		return known, found, err
	}
	account, found, err := a.read(ctx, raw, audiences, now)
	if err != nil {
		return nil, nil, err
	}
	a.verified.Add(digest, account, account.until, now, generation, account.bytes())
	return account, found, nil
}

// read checks the signature, and the claims as they are to be judged at the time now.
func (a *Authenticator) read(ctx context.Context, raw string, audiences []string, now time.Time) (*account, []string, error) {
	payload, provenance, err := a.verifySignature(ctx, raw)
	if err != nil {
		return nil, nil, err
	}
	account, err := checkClaims(payload, a.config.Issuers, now)
	if err != nil {
		return nil, nil, err
	}
	account.provenance = provenance
	found, err := a.checkAudiences(account, audiences)
	return account, found, err
}

// generation changes whenever any key does: the generations of both sources only grow.
func (a *Authenticator) generation() (g uint64) {
	if a.config.Keys != nil {
		g = a.config.Keys.Generation()
	}
	if a.config.FromShards != nil {
		g += a.config.FromShards.Keys.Generation()
	}
	return g
}

// verifySignature checks the signature and returns the payload, and why the key is trusted.
func (a *Authenticator) verifySignature(ctx context.Context, raw string) ([]byte, keyProvenance, error) {
	jws, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil {
		// The cause may quote the token's header.
		return nil, keyProvenance{}, token.Refuse(token.ReasonMalformed, "the token is malformed, or is not signed with one of %q", algorithms)
	}
	header := jws.Signatures[0].Protected
	var keys []Key
	if a.config.Keys != nil {
		keys = a.config.Keys.Keys(header.KeyID)
	}
	if payload := tryKeys(jws, keys); payload != nil {
		return payload, keyProvenance{}, nil
	}
	switch {
	case a.config.FromShards != nil && (header.KeyID == "" || len(keys) == 0):
		return a.config.FromShards.verifyWithHomeKeys(ctx, jws, a.config.Issuers)
	case len(keys) == 0:
		return nil, keyProvenance{}, token.Refuse(token.ReasonUnknownKey, "no service account key has the id %q; is the shard's key among --service-account-key-file?", clip.Clone(header.KeyID, maxQuoted))
	case header.KeyID == "":
		return nil, keyProvenance{}, token.Refuse(token.ReasonSignature, "none of %d service account keys verifies the signature (%s)", len(keys), header.Algorithm)
	}
	return nil, keyProvenance{}, token.Refuse(token.ReasonSignature, "service account key %q does not verify the signature (%s)", clip.Clone(header.KeyID, maxQuoted), header.Algorithm)
}
