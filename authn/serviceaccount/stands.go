package serviceaccount

import (
	"context"
	"time"
)

// Stands says whether a token that was good just before until would still be,
// had it not expired: its key still vouches, and account and Secret still exist.
// It is for what the token opened and what outlives it. Errors are those of
// Authenticate.
func (a *Authenticator) Stands(ctx context.Context, raw string, until time.Time) error {
	payload, by, err := a.open(ctx, raw)
	if err != nil {
		return err
	}
	account, err := expected{a.issuers, a.audiences, until.Add(-time.Second)}.judge(payload)
	if err != nil {
		return err
	}
	account.by = by
	return a.lookUp(ctx, account, raw)
}
