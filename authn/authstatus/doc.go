// Package authstatus defines how authenticators report their state, for explanations. It
// decides nothing, and must not know any authenticator.
package authstatus
