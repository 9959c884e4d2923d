package token

import (
	"context"
	"slices"

	"k8s.io/apiserver/pkg/authentication/user"
)

// AudienceAuthenticator is an Authenticator that knows for which audiences a token is. What
// any other accepts is for the API's audiences.
type AudienceAuthenticator interface {
	Authenticator
	// AuthenticateFor is AuthenticateToken for other audiences than the API's: it accepts a
	// token that is for one of the given ones, of which there is at least one, and returns
	// those that the token is for. With a user and none, the token is for the API's, as far
	// as the Authenticator knows. The identity is shared and must not be modified.
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
