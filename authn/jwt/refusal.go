package jwt

import (
	"errors"
	"fmt"
)

// Reason is why a token was refused: a small fixed set, fit for a metric label.
type Reason string

// The reasons of refusals.
const (
	Malformed   Reason = "malformed" // or too large
	UnknownKey  Reason = "unknown_key"
	Signature   Reason = "signature" // or a header that names no signature that could be verified
	Audience    Reason = "audience"
	Expired     Reason = "expired"
	NotYetValid Reason = "not_yet_valid"
	Claims      Reason = "claims" // the configuration's mappings and rules, and the limits of identities
)

// Reasons returns all reasons.
func Reasons() []Reason {
	return []Reason{Malformed, UnknownKey, Signature, Audience, Expired, NotYetValid, Claims}
}

// ReasonOf is the reason in an error of an Authenticator. It means nothing for nil and for
// errors that wrap token.ErrUndecided.
func ReasonOf(err error) Reason {
	var r *refusal
	if errors.As(err, &r) {
		return r.reason
	}
	return Claims
}

// refusal is the error of a token that is refused before its claims are looked at.
type refusal struct {
	reason Reason
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }

func (r *refusal) Unwrap() error { return r.err }

// Refuse is an error with a reason.
func Refuse(reason Reason, format string, args ...any) error {
	return &refusal{reason, fmt.Errorf(format, args...)}
}
