// Package tokenfile decides which static token of --token-auth-file is whose, as
// kube reads that file, and follows the file.
//
// It must not know requests, workspaces or other authenticators.
package tokenfile
