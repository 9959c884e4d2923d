// Package identity decides what an identity may look like before it is forwarded:
// whether a shard will read from its headers what was decided (Check), how large
// it may be (Limits), what a tenant's configuration may not claim (Guard), which
// groups of a global identity reach a shard (GroupFilter), and what an external
// mount host is told (ForExternalHost).
//
// It must not know how an identity was proved: no tokens, no certificates, no
// issuers, no workspace types.
package identity
