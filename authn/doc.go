// Package authn authenticates requests: Decide is the only place in the program that admits
// or refuses one.
//
// A request's credential is a client certificate or a bearer token. Global authenticators
// (the operator's flags) apply to every request. The authenticators of the target's
// workspace type (package workspacetypes) apply only there. Tenants choose their types, so the
// identities from those authenticators are checked and reduced by identity.GuardWorkspaceUser,
// and scoped to the one logical cluster. Every identity is checked as the shard will read it,
// since HTTP headers cannot carry every string. Groups are dropped in package identity only: by
// GroupFilter from global identities, by GuardWorkspaceUser from those of workspace types, by
// ForExternalHost for mounted hosts, and by ForReview for TokenReviews. Shards that are clients
// of virtual workspaces get back what GroupFilter took (clientcert.ShardClient).
//
// The result is always a Decision. Each authenticator that was asked accepted, refused, or
// could not decide. "Could not decide" (503) is never confused with "refused" (401), nor
// with "no authenticator applies", where the request passes through and the shard decides.
//
// Notes:
//
//   - Events prepare, requests only read: the authenticators of a workspace type are built
//     when its objects change, never for a request.
//   - A verified certificate is remembered for its connection's parsed certificate and CA
//     pool; it is verified again after a change of the pool or an expiry.
//   - Identities that token authenticators return are shared and never modified.
//   - apiserver's OIDC authenticator evaluates claims and CEL; package issuer handles keys,
//     issuers and fetches.
package authn
