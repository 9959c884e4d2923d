package serviceaccount

import (
	"context"
	"time"

	"frontproxy/authn/token"
)

// CheckRevoked implements token.RevocationChecker: it returns nil when the token's key
// is still trusted, and its account and Secret still exist. Errors are those of
// AuthenticateToken.
func (a *Authenticator) CheckRevoked(ctx context.Context, t token.Token, until time.Time) (known bool, err error) {
	if !a.judges(t) {
		return false, nil
	}
	return true, a.counted(t, a.checkRevoked(ctx, t.Raw, until))
}

func (a *Authenticator) checkRevoked(ctx context.Context, raw string, until time.Time) error {
	payload, provenance, err := a.open(ctx, raw)
	if err != nil {
		return err
	}
	account, err := judge(payload, a.issuers, until.Add(-time.Second))
	if err != nil {
		return err
	}
	if _, err := a.intended(account, a.audiences); err != nil {
		return err
	}
	account.provenance = provenance
	return a.lookUp(ctx, account, raw)
}
