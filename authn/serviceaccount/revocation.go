package serviceaccount

import (
	"context"
	"time"
)

// CheckRevoked returns nil when a token that was good until it expired at until would
// still be accepted otherwise: its key is still trusted, and its account and Secret still
// exist. It is for streams that outlive the token that opened them. Errors are those of
// Authenticate.
func (a *Authenticator) CheckRevoked(ctx context.Context, raw string, until time.Time) error {
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
