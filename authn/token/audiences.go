package token

import (
	"context"
	"slices"

	"k8s.io/apiserver/pkg/authentication/user"
)

// AudienceAuthenticator is an Authenticator that knows which audiences a token is for. Any other
// Authenticator accepts tokens for the API's audiences only.
type AudienceAuthenticator interface {
	Authenticator
	// AuthenticateFor is AuthenticateToken for other audiences than the API's, at least one:
	// it accepts a token that is for any of them, and returns the ones that the token is
	// for. If it returns a user and no audience, the token is for the API's, as far as the
	// Authenticator knows. The identity is shared and must not be modified.
	AuthenticateFor(ctx context.Context, t Token, audiences []string) (u user.Info, found []string, err error)
}

// Audiences returns those of wanted that are in has, in the order of wanted.
func Audiences(wanted, has []string) []string {
	var both []string
	for _, audience := range wanted {
		if slices.Contains(has, audience) {
			both = append(both, audience)
		}
	}
	return both
}
