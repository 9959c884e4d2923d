// Package token has what all bearer token authenticators share: the token as received and what can
// be read of it without trusting it (Token, Claims), the interfaces of authenticators
// (Authenticator, RevocationChecker), and the cache of verified tokens (Cache).
//
// It decides only whether a text has the form of a JWT and which issuer and subject it claims. It
// must not know which authenticators exist or how they verify: no keys, no issuers, no requests.
package token
