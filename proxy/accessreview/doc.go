// Package accessreview asks API servers what a caller may do: the workspace root about the proxy's
// own pages (RootAuthorizer), and the shard of a workspace, with the caller's own identity, about
// what the proxy answers there (Self). It decides how often root is asked, and for how long its
// answers count.
//
// It must not know which pages there are, nor the proxy's limits for the requests that ask.
package accessreview
