// Package token has what everybody who judges bearer tokens shares: the token as
// it came and what can be read of it without trusting it (Token, Claims), the
// interfaces of those who judge (Authenticator, RevocationChecker), and the cache
// of those that were found good (Cache).
//
// It decides only whether a text has the shape of a JWT and whose it claims to be.
// It must not know who judges tokens, or how: no keys, no issuers, no requests.
package token
