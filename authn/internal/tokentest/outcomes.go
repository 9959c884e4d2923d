package tokentest

import (
	"errors"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/token"
)

// Outcome is what an authenticator made of a token.
type Outcome string

// The outcomes there are.
const (
	Skipped   Outcome = "skipped"
	Accepted  Outcome = "accepted"
	Refused   Outcome = "refused"
	Undecided Outcome = "undecided"
)

// OutcomeOf is the outcome of an AuthenticateToken.
func OutcomeOf(u user.Info, err error) Outcome {
	switch {
	case errors.Is(err, token.ErrUndecided):
		return Undecided
	case err != nil:
		return Refused
	case u == nil:
		return Skipped
	}
	return Accepted
}
