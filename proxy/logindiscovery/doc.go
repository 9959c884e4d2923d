// Package logindiscovery tells clients that are not logged in where to log in. It makes the
// protected resource metadata (RFC 9728) of workspaces and of the proxy, and the challenge (RFC
// 6750) of a 401 that leads to it.
//
// Its content is public. About a workspace it publishes only what the owner of its type and the
// operator want published. The response is the same for a workspace that does not exist, one
// whose type publishes nothing, and one that cannot be looked up right now.
//
// It does not trust the host that a client uses: responses contain one of the operator's external
// URLs.
//
// It must not know who is asking, nor why a request was refused.
package logindiscovery
