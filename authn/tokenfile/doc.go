// Package tokenfile decides which user each static token of --token-auth-file belongs to, reads the
// file as kube does, and follows it.
//
// It must not know requests, workspaces or other authenticators.
package tokenfile
