// Package jwt makes authenticators of one configuration (spec.jwt, or the
// operator's): it decides whether a configuration may be used (Spec and its
// limits, Builder), and whether a token is good and whose it is (Authenticator:
// audience, times, signature, CEL mappings and rules).
//
// It must not know where configurations come from, which workspace types name
// them, or requests.
package jwt
