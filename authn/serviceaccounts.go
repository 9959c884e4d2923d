package authn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/serviceaccount"
	"frontproxy/authn/token"
)

// ServiceAccounts adapts the authenticator of service account tokens for Decide.
// refused is called with the reason of every refusal, for a metric; it may be nil.
func ServiceAccounts(a *serviceaccount.Authenticator, refused func(serviceaccount.Reason)) token.Authenticator {
	if refused == nil {
		refused = func(serviceaccount.Reason) {}
	}
	return &serviceAccounts{a, refused}
}

type serviceAccounts struct {
	authenticator *serviceaccount.Authenticator
	refused       func(serviceaccount.Reason)
}

// Name implements token.Authenticator.
func (s *serviceAccounts) Name() string { return "service-accounts" }

// Accounts implements token.AccountAuthenticator.
func (s *serviceAccounts) Accounts() bool { return true }

// AuthenticateToken implements token.Authenticator.
func (s *serviceAccounts) AuthenticateToken(ctx context.Context, t token.Token) (user.Info, time.Time, error) {
	if !t.JWT || !s.authenticator.Issues(t.Issuer) {
		return nil, time.Time{}, nil
	}
	who, until, err := s.authenticator.Authenticate(ctx, t.Raw)
	return who, until, s.verdict(t.Purpose, err)
}

// CheckRevoked implements token.RevocationChecker.
func (s *serviceAccounts) CheckRevoked(ctx context.Context, t token.Token, until time.Time) (bool, error) {
	if !t.JWT || !s.authenticator.Issues(t.Issuer) {
		return false, nil
	}
	return true, s.verdict(t.Purpose, s.authenticator.CheckRevoked(ctx, t.Raw, until))
}

// verdict counts refusals and makes the error one of this package's.
func (s *serviceAccounts) verdict(purpose token.Purpose, err error) error {
	if errors.Is(err, serviceaccount.ErrUndecided) {
		return fmt.Errorf("%w: %w", token.ErrUndecided, err)
	}
	var refusal *serviceaccount.Refusal
	if errors.As(err, &refusal) && purpose != token.ForExplanation {
		s.refused(refusal.Reason)
	}
	return err
}
