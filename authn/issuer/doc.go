// Package issuer keeps the signing keys of OIDC issuers and verifies signatures with them.
//
// Issuers are shared by IssuerRef, not by name: by the issuer URL, the address of its discovery
// document, and the CA that verifies both. All users of the same IssuerRef share one discovery
// document and one key set. Users that name the same URL with another discoveryURL
// or CA never share a key.
//
// Each Issuer in use has one goroutine, the only one that fetches for it. It fetches the
// discovery document and the keys at intervals, with growing pauses while that fails. A
// verification that lacks a key requests a fetch and waits for it. Waiting verifications share
// a fetch, and the limits below apply. Keys that were fetched stay in use while the issuer is
// unreachable.
//
// A tenant chooses the issuer's responses and the address of its keys. So fetches use https
// only, go through an egress.Guard, ignore proxy variables and follow no redirect to another
// host. Sizes, times, the number of keys, each owner's number of issuers, and the number of
// concurrent fetches (in total and for each owner) are limited. The fetches are shared fairly,
// so that one owner's issuers do not delay another's (see fetchScheduler). For issuers that
// operators choose, Unguarded and Config.Proxy lift the restrictions on addresses and proxies.
//
// It must not know what a token's claims mean, nor who configured an issuer and why.
//
// Notes:
//
//   - A key set that parses is used even if it is empty, because an issuer may withdraw its
//     keys on purpose. Its tokens are then undecided for NoKeyGrace, since some issuers have no
//     keys while they rotate, and after that refused. A document that is not a key set, or has
//     more than MaxKeys keys, is a failed fetch and changes nothing.
//   - Keys that are private, symmetric, weak or unsupported are skipped and listed in Status;
//     the others of the set are used.
//   - A token with an unknown key that was issued before the last successful fetch is refused
//     at once: its key is retired or never existed. A token issued since then causes a fetch: a
//     few in a burst, then at most one every ten seconds. When those are used up, the token is
//     undecided. See jwks.Refetch.
//   - EdDSA is missing, because apiserver's OIDC authenticator does not accept it.
package issuer
