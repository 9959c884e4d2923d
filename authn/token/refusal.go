package token

import "fmt"

// Reason is why a token was refused: a small fixed set, fit for a metric label.
type Reason string

// The reasons of refusals. Each kind of authenticator uses some of them. A new one is also in
// jwt.Reasons, if package jwt uses it, and in docs/metrics.md.
const (
	ReasonMalformed   Reason = "malformed" // or too large
	ReasonUnknownKey  Reason = "unknown_key"
	ReasonSignature   Reason = "signature" // or a header that names no signature that could be verified
	ReasonIssuer      Reason = "issuer"
	ReasonAudience    Reason = "audience"
	ReasonExpired     Reason = "expired"
	ReasonNotYetValid Reason = "not_yet_valid"
	ReasonClaims      Reason = "claims" // including a configuration's mappings and rules, and the limits of identities

	// Of service accounts.
	ReasonHomeUnknown Reason = "home_unknown"
	ReasonAccountGone Reason = "account_gone"
	ReasonSecretGone  Reason = "secret_gone"
	ReasonRevoked     Reason = "revoked"
	ReasonBoundObject Reason = "bound_object"
)

// RefusalError is the error of a token that was judged and is not good. It is for operators and
// never holds the token.
type RefusalError struct {
	Reason Reason
	err    error
}

// Refuse returns a RefusalError with a text as fmt.Errorf makes it.
func Refuse(reason Reason, format string, args ...any) error {
	return &RefusalError{reason, fmt.Errorf(format, args...)}
}

func (r *RefusalError) Error() string { return r.err.Error() }

func (r *RefusalError) Unwrap() error { return r.err }
