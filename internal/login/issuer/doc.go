// Package issuer logs a person in at an OpenID Connect issuer, in a browser
// (authorization code with PKCE, RFC 7636 and RFC 8252) or with another device (RFC
// 8628), and renews what it got.
//
// It trusts the issuer, and believes nothing else: every URL is https, the issuer's
// CA is the only one when there is one, answers are bounded, and an ID token counts
// when its signature, issuer, audience, time and, of a browser's, nonce are right.
//
// The issuer's clock is the one that counts. Its answers tell it (the Date header),
// so a machine whose clock is wrong can log in, and knows when its token ends.
package issuer
