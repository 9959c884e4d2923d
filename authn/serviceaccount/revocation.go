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
	account, _, err := a.read(ctx, t.Raw, a.config.Audiences, until.Add(-time.Second))
	if err == nil {
		err = a.lookUp(ctx, account, t.Raw)
	}
	return true, a.counted(t, err)
}
