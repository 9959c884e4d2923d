// Package clientcert decides which user a client certificate names, or which user a
// proxy or a shard that shows one asserts in headers. Users' certificates and those
// that may assert have a CA pool each, so that a user's asserts nobody and a proxy's
// is no user.
//
// It must not know tokens, workspaces, targets or decisions.
package clientcert
