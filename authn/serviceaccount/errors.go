package serviceaccount

import (
	"fmt"

	"frontproxy/authn/token"
)

// ErrUndecided is wrapped by AuthenticateToken's error when the token could not be judged now,
// because a shard could not be asked or is not known. It wraps token.ErrUndecided.
var ErrUndecided = fmt.Errorf("%w: service account could not be looked up", token.ErrUndecided)

// maxQuoted bounds what a refusal quotes of a token, in bytes.
const maxQuoted = 128
