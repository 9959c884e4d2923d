// Package issuer keeps the signing keys of OIDC issuers and verifies signatures
// with them.
//
// Issuers are shared by trust, not by name: a Trust is an issuer URL, where its
// discovery document is, and the CA that vouches for both. Everybody with the
// same Trust shares one discovery document and one key set; two who name the
// same URL with another discoveryURL or CA never share a key.
//
// Each Issuer in use has one goroutine, the only one that ever fetches for it.
// It reads the discovery document and the keys, again after an interval, and
// with growing pauses while that fails. A verification that lacks a key asks
// it for a fetch and waits, all askers for the same one, and not more often
// than the limits below say. Keys once read stay in use while the issuer can't
// be reached.
//
// What an issuer serves and where it says its keys are is a tenant's choice:
// https only, through an egress.Guard, without proxy variables, no redirect to
// another host, bounded sizes, times, key counts, issuers of each owner, and
// fetches at once for all and for each owner, shared out so that nobody's
// issuers hold up another's (see lanes). Where operators choose the issuers,
// Unguarded and Config.Proxy lift the first of these.
//
// Wrinkles:
//
//   - A key set that parses is believed, even when it is empty: an issuer that
//     withdraws its keys means it. Its tokens are undecided for NoKeyGrace, since
//     some issuers are without keys while they rotate, and then refused. A document that is no key set, or one with
//     more than MaxKeys keys, is a failed fetch and changes nothing.
//   - Keys that are private, symmetric, weak or not understood are left out and
//     noted in Status; the others of the set count.
//   - A token with an unknown key that was issued before the last good reading is
//     refused at once: its key is retired, or never was. One issued since has the
//     keys read again, a few times in a burst and then every ten seconds at most;
//     while that is used up it is undecided. See jwks.Refetch.
//   - EdDSA is missing: apiserver's OIDC authenticator does not take it.
package issuer
