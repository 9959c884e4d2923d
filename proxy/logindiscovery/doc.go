// Package logindiscovery tells people without a login where to get one: it makes
// the protected resource metadata (RFC 9728) of workspaces and of the proxy, and
// the challenge (RFC 6750) of a 401 that leads there.
//
// What it tells is public. It says nothing of a workspace but what the owner of its
// type, and the operator, want told: a workspace that does not exist, one whose
// type tells nothing, and one that cannot be looked up right now are answered
// alike.
//
// The host that a client asks is not believed: answers name one of the operator's
// external URLs.
package logindiscovery
