// Package clientcert decides who a client certificate is, or whom a proxy or a
// shard asserts by one: each CA pool is its own, so that a user's certificate
// asserts nobody and a proxy's is no user.
//
// It must not know tokens, workspaces, targets or decisions.
package clientcert
