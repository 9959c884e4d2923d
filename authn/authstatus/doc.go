// Package authstatus is how authenticators say in what state they are, for
// explanations. It decides nothing, and must not know any authenticator.
package authstatus
