package jwt

import (
	"errors"

	"frontproxy/authn/token"
)

// Reasons returns all reasons for which an Authenticator refuses tokens.
func Reasons() []token.Reason {
	return []token.Reason{token.ReasonMalformed, token.ReasonUnknownKey, token.ReasonSignature, token.ReasonAudience, token.ReasonExpired, token.ReasonNotYetValid, token.ReasonClaims}
}

// ReasonOf is the reason in an error of an Authenticator. It means nothing for nil and for
// errors that wrap token.ErrUndecided.
func ReasonOf(err error) token.Reason {
	var r *token.RefusalError
	if errors.As(err, &r) {
		return r.Reason
	}
	return token.ReasonClaims
}
