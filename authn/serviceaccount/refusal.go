package serviceaccount

import (
	"fmt"

	"frontproxy/authn/token"
)

// ErrUndecided is wrapped by AuthenticateToken's error when the token could not be judged now,
// because a shard could not be asked or is not known. It wraps token.ErrUndecided.
var ErrUndecided = fmt.Errorf("%w: service account could not be looked up", token.ErrUndecided)

// Reason is why a token was refused: a small fixed set, fit for a metric label.
type Reason string

// The reasons of refusals.
const (
	Malformed   Reason = "malformed"
	UnknownKey  Reason = "unknown_key"
	Signature   Reason = "signature"
	Issuer      Reason = "issuer"
	Audience    Reason = "audience"
	Expired     Reason = "expired"
	NotYetValid Reason = "not_yet_valid"
	Claims      Reason = "claims"
	HomeUnknown Reason = "home_unknown"
	AccountGone Reason = "account_gone"
	SecretGone  Reason = "secret_gone"
	Revoked     Reason = "revoked"
	BoundObject Reason = "bound_object"
)

// RefusalError is the error of a token that was judged and is not good. It is for
// operators and never holds the token.
type RefusalError struct {
	Reason Reason
	Detail string
}

func (r *RefusalError) Error() string { return r.Detail }

func refuse(reason Reason, format string, args ...any) error {
	return &RefusalError{reason, fmt.Sprintf(format, args...)}
}

// maxQuoted bounds what a refusal quotes of a token, in bytes.
const maxQuoted = 128
