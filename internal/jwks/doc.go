// Package jwks reads JSON Web Key Sets (RFC 7517) of all sources: issuers that tenants or
// operators name, which include Kubernetes and kcp clusters, and kcp's shards.
//
// It reads only those members of a key that are needed to verify a signature. Other members
// (x5c, x5t, x5u, key_ops and unknown ones) are optional and unused, so they are not
// validated: a good key with a bad certificate is a good key.
package jwks
