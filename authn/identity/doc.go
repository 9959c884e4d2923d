// Package identity decides which identities may be forwarded: whether a shard will read exactly
// the decided identity out of the headers (Check), how large it may be (Limits), what a tenant's
// configuration may not assert (GuardWorkspaceUser), which groups of a global identity reach a
// shard (GroupFilter), which identity an external mount host gets (ForExternalHost), and under
// which name others in a workspace learn of one (ForReview).
//
// It must not know how an identity was proved: no tokens, no certificates, no issuers, no
// workspace types.
package identity
