// Package issuer logs a user in at an OpenID Connect issuer, in a browser (authorization code with
// PKCE, RFC 7636 and RFC 8252) or on another device (RFC 8628), and renews the tokens.
//
// It trusts only the issuer. Every URL must be https. If the issuer has its own CA, no other CA
// is accepted. Responses are limited in size. An ID token is accepted only if its signature,
// issuer, audience, time and, for a browser login, nonce are right.
//
// The issuer's clock decides. The Date header of its responses gives the time, so a user can log
// in on a machine with a wrong clock, and the machine knows when its token expires.
package issuer
