// Package oidc authenticates tokens of the operator's OIDC issuers. It reads the issuers from
// --oidc-* or --authentication-config, follows the files that these flags name, and chooses
// the authenticator for a token by the token's issuer.
//
// It must not know requests, workspaces or other authenticators.
package oidc
