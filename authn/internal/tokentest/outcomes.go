package tokentest

import (
	"errors"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/token"
)

// Outcome is what an authenticator made of a token.
type Outcome int

// The outcomes there are.
const (
	Skipped Outcome = iota
	Accepted
	Refused
	Undecided
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

// String is the outcome's name.
func (o Outcome) String() string {
	return [...]string{"skipped", "accepted", "refused", "undecided"}[o]
}
