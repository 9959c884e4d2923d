package workspacetypes

import (
	"frontproxy/authn/token"
	"frontproxy/internal/protectedresource"
)

// TypeAuthenticators are the ready-made authenticators of a workspace type. Immutable, and shared
// by all requests to workspaces of the type.
type TypeAuthenticators struct {
	// ByIssuer has the JWT authenticators by the issuer URL they trust, in the
	// order of the configurations.
	ByIssuer map[string][]token.Authenticator
	// Undecided has a reason for every configuration that is named but missing
	// or broken: a token nobody accepts is then undecided, not refused.
	Undecided []string
	// Versions are the objects they were built from, as "kind/name@resourceVersion".
	Versions []string

	// Login are the clients that the type's owner publishes to people without a login.
	Login []protectedresource.Client
}
