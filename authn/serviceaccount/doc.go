// Package serviceaccount authenticates the service account tokens of kcp's shards: bound tokens
// (from TokenRequest) and legacy ones (from a Secret).
//
// It accepts the tokens that a kcp v0.31 shard with the key accepts, with the following
// differences. Each of them only refuses tokens that kcp never signs, or that the proxy could
// not forward safely:
//
//   - Algorithms are RS256, ES256, ES384 and ES512, those with which kcp signs; each ES
//     algorithm only with its own curve. A shard also accepts RS384, RS512 and PS* with the same
//     RSA key.
//   - The subject of a bound token must name the account of its claims; kcp requires this only
//     for legacy tokens. Names and the home cluster must be well formed and the account's UID
//     present, with look-ups or without. A token without a home cluster is refused, because an
//     identity without one is local everywhere.
//   - With look-ups, an account or bound Secret that is being deleted is gone at once. Shards
//     give bound tokens another minute.
//   - Tokens above 16 KiB are refused.
//
// As at a shard: a token with a key ID is checked only with the keys of that ID (IDs are derived
// from the key), one without with every key. exp, nbf and iat have a minute of leeway. A token
// without an audience is for the API audiences. A bound token without exp does not expire.
// "warnafter" is read and has no effect. Pod- and node-bound tokens are refused with look-ups;
// without them, their pod and node are forwarded unverified, for bound tokens.
//
// Unlike a shard, the proxy does not write the label kubernetes.io/legacy-token-last-used: it
// only reads.
//
// It must not know requests or other authenticators.
//
// # Whose keys
//
// Keys from files are valid for every account. Keys that shards publish (FromShards) are valid
// for the accounts whose home cluster the shard holds: the home in a token selects the keys to
// check it with, and no other key is tried. The keys of a previous holder are valid while the
// account is found at its new home. If the holder is unknown, or may have keys that are unknown,
// the token is undecided.
//
// # Caching
//
// A verified token is remembered by its HMAC for at most ten seconds, so that its signature is
// not checked at every request, and never beyond its expiry or a change of the keys or of the
// home's holder. Look-ups are separate: every request makes them, through a short cache of their own.
package serviceaccount
