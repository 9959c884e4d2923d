package token

import (
	"context"
	"errors"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
)

// ErrUndecided is wrapped by an Authenticator's error when it could not
// judge the token now.
var ErrUndecided = errors.New("could not decide")

// Authenticator judges bearer tokens.
type Authenticator interface {
	// Name is for verdicts; such as "webhook".
	Name() string
	// AuthenticateToken returns the identity the token proves, unguarded; the
	// time it ends (zero: unknown); or (nil, zero, nil) when the token is not of
	// its kind, an error that wraps ErrUndecided when it could not judge, or
	// any other error when it refuses. Errors never contain the token. The
	// identity is shared and must not be modified.
	AuthenticateToken(ctx context.Context, t Token) (user.Info, time.Time, error)
}

// RevocationChecker is an Authenticator that can tell of an expired token whether it has
// been revoked as well.
type RevocationChecker interface {
	Authenticator
	// CheckRevoked is for a token that was good until it expired at until. It returns
	// nil when all else that the token depends on still exists (its service account,
	// the configuration that trusts its issuer), an error that wraps ErrUndecided
	// when that is not known now, and any other error when the token is revoked.
	// known is false when the token is not of the Authenticator's kind.
	CheckRevoked(ctx context.Context, t Token, until time.Time) (known bool, err error)
}

// ReadyChecker is an Authenticator that may have to wait for others before it can
// judge a token.
type ReadyChecker interface {
	Authenticator
	// Ready reports whether it can judge the token at once.
	Ready(t Token) bool
}

// AccountAuthenticator is an Authenticator of service accounts.
type AccountAuthenticator interface {
	Authenticator
	// Accounts says that the identities are service accounts, by their own tokens.
	Accounts() bool
}
