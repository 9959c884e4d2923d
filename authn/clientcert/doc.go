// Package clientcert decides which user a client certificate names, or which user a
// proxy or a shard with a certificate asserts in headers. Each kind of certificate has a
// CA pool of its own: a user's certificate asserts nobody, and a proxy's is no user.
//
// It must not know tokens, workspaces, targets or decisions.
package clientcert
