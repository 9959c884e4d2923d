// Package serviceaccount authenticates the service account tokens of kcp's
// shards: bound tokens (from TokenRequest) and legacy ones (from a Secret).
//
// It accepts what a kcp shard of v0.31 that has the key accepts, with the
// differences listed here; each only refuses what no kcp ever signs, or what
// the proxy could not pass on safely:
//
//   - Algorithms are RS256, ES256, ES384 and ES512, the ones kcp signs with, the
//     EC ones only with their own curve. A shard also takes RS384, RS512 and PS*
//     from the same RSA key.
//   - The subject of a bound token must name the account of its claims, as kcp
//     requires for legacy tokens only; names and the home cluster must be well
//     formed and the account's UID present, looked up or not. A token without a
//     home cluster is refused: an identity without one is local everywhere.
//   - Under lookup an account or bound Secret that is being deleted is gone at
//     once. Shards give it another minute for bound tokens.
//   - Tokens above 16 KiB are refused.
//
// As at a shard: a token with a key id is checked with the keys of that id only
// (ids are derived from the key), one without with every key; exp, nbf and iat
// have a minute of leeway; a token without audience is for the API audiences;
// a bound token without exp does not end; "warnafter" is read and changes
// nothing; pod- and node-bound tokens are refused under lookup, and without it
// their pod and node are passed on unverified, for bound tokens.
//
// One thing a shard does is missing: the label
// kubernetes.io/legacy-token-last-used is not written, the proxy only reads.
//
// # Whose keys
//
// Keys from files vouch for every account. Keys that shards publish (FromShards)
// vouch for the accounts whose home cluster the shard holds: the home that a token
// names selects the keys it is checked with, so that no other key is ever tried.
// A previous holder's keys vouch while the account is found at its new home. When
// the holder can't be told, or may have keys that are not known, the token is
// undecided.
//
// # What is kept
//
// A token that verified is remembered by an HMAC for at most ten seconds, so
// that its signature is not checked on every request; never beyond its expiry or
// a change of the keys or of the home's holder. Lookups are not part of that: they
// are made, from their own short cache, for every request.
package serviceaccount
