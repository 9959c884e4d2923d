// Package jwks reads JSON Web Key Sets (RFC 7517), whoever serves them: issuers
// that tenants or operators name, Kubernetes and kcp clusters among them, and
// kcp's shards.
//
// Of a key only the members that a signature is verified with are read. The
// others (x5c, x5t, x5u, key_ops and names nobody knows) are optional and not
// used, so they are not judged: a good key with a bad certificate is a good key.
package jwks
