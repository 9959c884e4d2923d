// Package oidc has the operator's OIDC issuers, by --oidc-* or
// --authentication-config: it decides what these say, follows their files, and
// which issuer's authenticator judges a token.
//
// It must not know requests, workspaces or other authenticators.
package oidc
